"""The shipped models are what their metadata says."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from atpn.engine.inference import FaceNetwork, find_model, shipped_models
from atpn.errors import ConfigurationError
from atpn_training.artefacts.export import trial_crops


@pytest.mark.parametrize("name", ["atpn", "yunet"])
def test_a_shipped_model_matches_its_metadata(name: str) -> None:
    model = find_model(shipped_models(), name)  # refuses another sha256
    session = ort.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert image.name == model.metadata["input"]["name"]
    assert image.type == f"tensor({model.metadata['input']['dtype']})"
    assert image.shape == model.metadata["input"]["shape"]
    outputs = [(o.name, o.shape) for o in session.get_outputs()]
    assert outputs == [(o["name"], o["shape"]) for o in model.metadata["outputs"]]


@pytest.mark.parametrize("count", [1, 3])
def test_the_shipped_network_takes_any_number_of_crops(count: int) -> None:
    network = FaceNetwork(find_model(shipped_models(), "atpn"))
    found = network.run(np.zeros((count, 112, 112, 3), np.uint8))
    assert found.landmarks.shape == (count, 98, 2)
    assert found.pose.shape == (count, 3)
    assert found.confidence.shape == (count,)


def test_a_blank_crop_is_no_face() -> None:
    network = FaceNetwork(find_model(shipped_models(), "atpn"))
    blank = np.full((1, 112, 112, 3), 127, np.uint8)
    assert network.run(blank).confidence[0] < 0.7


def test_triton_may_batch_the_shipped_network() -> None:
    config = (shipped_models() / "atpn" / "config.pbtxt").read_text()
    assert 'name: "atpn"' in config
    assert "max_batch_size: 64" in config


def test_metadata_names_the_model_and_its_terms() -> None:
    folder = shipped_models() / "yunet"
    assert "Permission is hereby granted" in (folder / "LICENSE").read_text()
    assert json.loads((folder / "1" / "metadata.json").read_text())["license"] == "MIT"


@pytest.mark.parametrize("name", ["atpn", "atpn-open"])
def test_the_network_without_its_pose_branch_is_the_same_but_for_the_pose(name: str) -> None:
    model = find_model(shipped_models(), name)
    assert model.without_pose is not None
    whole = onnx.load(model.path).graph
    part = onnx.load(model.without_pose).graph
    assert [o.name for o in part.output] == ["landmarks", "confidence"]
    assert len(part.node) < len(whole.node)
    network = FaceNetwork(model)
    crops = trial_crops(5, 112)
    posed, bare = network.run(crops), network.run(crops, pose=False)
    np.testing.assert_allclose(bare.landmarks, posed.landmarks, atol=1e-5)
    np.testing.assert_allclose(bare.confidence, posed.confidence, atol=1e-5)
    assert not bare.pose.any()
    assert posed.pose.any()


@pytest.mark.parametrize("damage", [b"", None])
def test_a_part_that_is_not_the_described_one_is_refused(
    damage: bytes | None, tmp_path: Path
) -> None:
    shutil.copytree(shipped_models() / "atpn", tmp_path / "atpn")
    path = tmp_path / "atpn/1/without_pose.onnx"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ConfigurationError, match=r"without_pose.*sha256"):
        find_model(tmp_path, "atpn")

"""A converted graph answers like the one it was made of, or is refused."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import skimage.data
import torch

from atpn.engine.inference import FaceNetwork, Predictions, find_model, shipped_models
from atpn.geometry import crop, square
from atpn_training.artefacts import export as exporting
from atpn_training.artefacts.compress import (
    FUNCTIONS,
    RECIPES,
    Recipe,
    calibration_crops,
    excluded,
    to_fp16,
    to_int8,
)
from atpn_training.artefacts.export import to_onnx
from atpn_training.data.images import Images
from atpn_training.score.compare import (
    Comparison,
    Trial,
    answers,
    compare,
    first_accurate,
    speed_ratio,
)
from atpn_training.score.served import jittered
from atpn_training.train.checkpoint import load_net
from tests.training.synthetic import ASTRONAUT, astronaut_points, write_data

CHECKPOINT = Path(__file__).resolve().parents[2] / "models" / "checkpoints" / "atpn-1.pt"
GOOD = Comparison(0.05, 0.0505, 0.1, 0.001, {1: 1.5, 4: 1.2})


@pytest.fixture(scope="module")
def model() -> bytes:
    """The shipped network, exported anew."""
    return to_onnx(load_net(CHECKPOINT))


@pytest.fixture(scope="module")
def faces() -> Images:
    """One real face in 24 ROIs: (24, 112, 112, 3)."""
    photo = skimage.data.astronaut()
    return np.stack([crop(photo, roi) for roi in jittered([ASTRONAUT] * 24)])


@pytest.fixture(scope="module")
def trial(faces: Images, model: bytes) -> Trial:
    """The faces, labelled by the network itself, a hundredth of the crop off."""
    rois = [square(0.5, 0.5, 1)] * len(faces)
    return Trial(faces, rois, answers(model, faces).landmarks + np.float32(0.01))


def test_integers_inside_answer_nearly_the_same(model: bytes, faces: Images, trial: Trial) -> None:
    converted = to_int8(model, faces, RECIPES[1])
    kinds = {node.op_type for node in onnx.load_from_string(converted).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert len(converted) < 0.7 * len(model)
    base, own = answers(model, faces), answers(converted, faces)
    assert 0 < np.abs(base.landmarks - own.landmarks).mean() < 0.01
    found = compare(base, own, trial)
    assert found.other_nme != found.base_nme
    assert found.flipped == 0


def test_half_precision_keeps_inputs_and_outputs(model: bytes, faces: Images) -> None:
    converted = to_fp16(model)
    old, new = (onnx.load_from_string(m).graph for m in (model, converted))
    assert list(old.input) == list(new.input)
    kinds = [(o.name, o.type.tensor_type.elem_type) for o in old.output]
    assert kinds == [(o.name, o.type.tensor_type.elem_type) for o in new.output]
    assert len(converted) < 0.6 * len(model)
    base, own = answers(model, faces), answers(converted, faces)
    np.testing.assert_allclose(own.landmarks, base.landmarks, atol=5e-3)
    np.testing.assert_allclose(own.confidence, base.confidence, atol=1e-2)


def test_the_heatmap_stays_in_floating_point(model: bytes) -> None:
    loaded = onnx.load_from_string(model)
    kept = set(excluded(loaded, Recipe("", (), (FUNCTIONS,))))
    by_name = {n.name: n.op_type for n in loaded.graph.node}
    assert {"Sqrt", "ReduceMin", "Clip", "Softmax", "Tanh"} <= {by_name[n] for n in kept}
    assert not {"Conv", "Gemm"} & {by_name[n] for n in kept}


def test_calibration_draws_training_faces_only(tmp_path: Path) -> None:
    write_data(tmp_path)
    with pytest.raises(ValueError, match="no training faces"):
        calibration_crops(tmp_path)
    listed = tmp_path / "faces.csv"
    listed.write_text(listed.read_text().replace("val", "train"))
    assert calibration_crops(tmp_path, 5).shape == (5, 112, 112, 3)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "keep"),
        ({"other_nme": 0.052}, "drop: less accurate"),
        ({"turn_deg": 0.9}, "drop: less accurate"),
        ({"flipped": 0.02}, "drop: less accurate"),
        ({"other_nme": float("nan")}, "drop: less accurate"),
        ({"speed": {1: 1.5, 4: 1.0}}, "drop: not 1.1 times as fast"),
        ({"speed": None}, "drop: not 1.1 times as fast"),
    ],
)
def test_only_what_is_accurate_and_faster_is_kept(change: dict[str, float], verdict: str) -> None:
    assert replace(GOOD, **change).verdict.startswith(verdict)  # type: ignore[arg-type]


def test_the_comparison_says_what_changed(trial: Trial, model: bytes) -> None:
    base = answers(model, trial.crops)
    other = Predictions(base.landmarks, base.pose + np.radians(2), 1 - base.confidence)
    found = compare(base, other, trial)
    assert found.other_nme == found.base_nme > 0
    assert found.turn_deg == pytest.approx(2, abs=1e-4)
    assert found.flipped == 1
    assert "pose 2.000 deg apart" in str(found)


def test_the_first_accurate_candidate_is_taken(
    model: bytes, trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    other = load_net(CHECKPOINT)
    torch.nn.init.normal_(other.alignment.regress.weight, std=0.1)
    wrong = to_onnx(other)
    candidates = [("wrong", lambda: wrong), ("same", lambda: model), ("late", lambda: b"")]
    found = first_accurate(model, candidates, trial)
    assert found is not None
    assert found[:2] == ("same", model)
    assert "(refused)" in capsys.readouterr().out.splitlines()[0]
    assert first_accurate(model, candidates[:1], trial) is None


def test_a_network_is_as_fast_as_itself(faces: Images) -> None:
    network = FaceNetwork(find_model(shipped_models(), "atpn"))
    assert 0.2 < speed_ratio(network, network, faces[:1], 9) < 5


def test_an_export_in_half_precision_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, folder = tmp_path / "data", tmp_path / "atpn-fp16" / "1"
    write_data(data)
    arguments = ["--weights", CHECKPOINT, "--out", folder, "--fp16", "--data", data]
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    assert exporting.main() == 0
    found = find_model(tmp_path, "atpn-fp16")
    assert found.metadata["precision"] == "fp16"
    photo = skimage.data.astronaut()
    crops = crop(photo, square(222, 128, 190))[None]
    own = FaceNetwork(found).run(crops).landmarks[0] * 190 + np.array([127, 33])
    assert np.abs(own - astronaut_points(photo)).max() < 1


def test_a_conversion_needs_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["export", "--weights", "w", "--out", "o", "--int8"])
    with pytest.raises(SystemExit):
        exporting.main()
    assert "--int8 needs --data" in capsys.readouterr().err

"""The exported ONNX is the trained network, or it is not written."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from atpn.engine.inference import FaceNetwork, find_model
from atpn_training.artefacts.compress import half_weights
from atpn_training.artefacts.export import ExportError, check, export, to_onnx, trial_crops
from atpn_training.network.atpn import ATPN
from tests.training.synthetic import shake_batch_norm, tiny_net

SHAPE_OPERATORS = {"Shape", "Range", "ConstantOfShape", "Expand", "Where", "Loop", "If"}


@pytest.fixture
def net() -> ATPN:
    """A random network with uneven batch-norm statistics."""
    net = tiny_net()
    shake_batch_norm(net)
    return net.eval()


class ShiftedNet(ATPN):
    """A network whose torch form is a hair off its exported form."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks moved by a thousandth of the crop, but not in the exported graph."""
        points, pose, confidence = super().forward(images)
        return points + (0 if torch.onnx.is_in_onnx_export() else 1e-3), pose, confidence


def test_an_export_is_served_like_the_network(net: ATPN, tmp_path: Path) -> None:
    worst = export(net, tmp_path / "atpn" / "1", {"faces": 3})
    assert max(worst.values()) < 1e-3
    model = find_model(tmp_path, "atpn")  # checks the sha256
    crops = trial_crops(5, 112)
    found = FaceNetwork(model).run(crops)
    with torch.no_grad():
        points, pose, confidence = net(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(found.landmarks, points.numpy(), atol=1e-3)
    np.testing.assert_allclose(found.pose, pose.numpy(), atol=1e-3)
    np.testing.assert_allclose(found.confidence, confidence.numpy(), atol=1e-3)


def test_the_metadata_describes_the_file(net: ATPN, tmp_path: Path) -> None:
    folder = tmp_path / "atpn" / "2"
    export(net, folder, {"faces": 3})
    metadata = json.loads((folder / "metadata.json").read_text())
    assert (metadata["name"], metadata["version"]) == ("atpn", "2")
    assert metadata["figures"] == {"faces": 3}
    content = (folder / "model.onnx").read_bytes()
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
    graph = onnx.load_from_string(content).graph
    assert [o["name"] for o in metadata["outputs"]] == [o.name for o in graph.output]
    assert (
        'name: "atpn"\nplatform: "onnxruntime_onnx"'
        in (tmp_path / "atpn" / "config.pbtxt").read_text()
    )


def test_weights_are_stored_in_half_precision_and_computed_with_in_single(net: ATPN) -> None:
    model = to_onnx(net)
    half = half_weights(model)
    kernels = [w for w in onnx.load_from_string(half).graph.initializer if len(w.dims) > 1]
    assert {w.data_type for w in kernels} == {onnx.TensorProto.FLOAT16}
    graph = onnx.load_from_string(half).graph
    onnx.checker.check_model(half, full_check=True)
    rounded = onnx.load_from_string(model)
    for weight in rounded.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.ndim > 1:
            values = values.astype(np.float16).astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    crops = trial_crops(3, 112)
    one, other = (
        ort.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, {"image": crops})
        for m in (half, rounded.SerializeToString())
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert {n.op_type for n in graph.node} == {n.op_type for n in rounded.graph.node} | {"Cast"}


def test_nothing_in_the_graph_is_computed_from_shapes(net: ATPN) -> None:
    graph = onnx.load_from_string(to_onnx(net)).graph
    assert not SHAPE_OPERATORS & {node.op_type for node in graph.node}
    dims = graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [d.dim_value for d in dims[1:]] == [112, 112, 3]


def test_a_graph_of_other_weights_is_refused(net: ATPN) -> None:
    with pytest.raises(ExportError, match="differs from torch"):
        check(tiny_net(seed=5), to_onnx(net))


def test_a_refused_graph_is_not_written(net: ATPN, tmp_path: Path) -> None:
    shifted = ShiftedNet(net.cfg)
    shifted.load_state_dict(net.state_dict())
    with pytest.raises(ExportError, match="landmarks"):
        export(shifted.eval(), tmp_path / "atpn" / "1", {})
    assert list(tmp_path.iterdir()) == []


def test_maps_are_hardly_ever_reordered_on_a_cpu(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that such a file is for this processor alone
    model = half_weights(to_onnx(ATPN().eval()))
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    operators = [n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node]
    assert sum(operator.startswith("Reorder") for operator in operators) <= 40  # 81 as in torch

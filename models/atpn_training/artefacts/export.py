"""Exports trained weights to the ONNX file that is served, and refuses one that differs.

    python -m atpn_training.artefacts.export --weights RUN/pose.done.pt --out .../NAME/VERSION
    python -m atpn_training.artefacts.export --weights ... --out DIR --int8 --data DATA

``--int8`` and ``--fp16`` convert the graph and write it only if it stays as accurate on DATA's
validation faces; `atpn_training.score.compare` then says whether it is also faster.

The graph takes uint8 crops as they come from `atpn.geometry.crop`; transposition, cast and
normalisation are inside. It is compared with torch at two batch sizes before it is written, and
its weights are then stored in half precision: the file is half as large, and what it computes with
them is FP32.
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx.utils import Extractor

from atpn_training.artefacts.compress import (
    RECIPES,
    calibration_crops,
    half_weights,
    to_fp16,
    to_int8,
)
from atpn_training.artefacts.constant import Served
from atpn_training.artefacts.describe import describe
from atpn_training.artefacts.files import replace_file, write_model
from atpn_training.data.images import Images
from atpn_training.network.atpn import ATPN
from atpn_training.score.compare import Trial, first_accurate
from atpn_training.train.checkpoint import load_net

OPSET = 17
OUTPUTS = ("landmarks", "pose", "confidence")
#: Largest differences from torch: of the crop's side, radians, probability.
TOLERANCE = {"landmarks": 1e-4, "pose": 1e-4, "confidence": 1e-4}
#: The same with weights in half precision.
STORED_TOLERANCE = {"landmarks": 2e-3, "pose": 1e-2, "confidence": 1e-2}
MAX_BATCH = 64  # for Triton's dynamic batching


class ExportError(Exception):
    """The exported graph is not the trained network."""


def to_onnx(net: ATPN) -> bytes:
    """The ONNX model of a network, with a dynamic batch axis."""
    size = net.cfg.input_size
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter by tracing is deprecated; it gives the smaller graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            Served(net),
            (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
            path,
            opset_version=OPSET,
            dynamo=False,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in ("image", *OUTPUTS)},
        )
        return with_batches(path.read_bytes())


def with_batches(model: bytes) -> bytes:
    """The graph with the shapes of its resized maps: inference does not know their batch axis.

    ONNX Runtime leaves the layout in which it convolves where it cannot see that shapes agree.
    """
    graph = onnx.load_from_string(model)
    known = onnx.shape_inference.infer_shapes(graph).graph.value_info
    resized = {node.output[0] for node in graph.graph.node if node.op_type == "Resize"}
    for info in known:
        if info.name in resized:
            info.type.tensor_type.shape.dim[0].dim_param = "batch"
            graph.graph.value_info.append(info)
    shaped: bytes = graph.SerializeToString()
    return shaped


def without_pose(model: bytes) -> bytes:
    """The graph without its pose branch: for who asks for landmarks alone, a sixth less to run."""
    graph = onnx.load_from_string(model)
    kept = [name for name in OUTPUTS if name != "pose"]
    part: bytes = Extractor(graph).extract_model(["image"], kept).SerializeToString()
    return part


def trial_crops(count: int, size: int) -> Images:
    """Noise and smooth colour patches in turn: (count, size, size, 3)."""
    rng = np.random.default_rng(count)
    crops = rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    for i in range(0, count, 2):
        coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        crops[i] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return crops


def check(net: ATPN, model: bytes, tolerance: Mapping[str, float] = TOLERANCE) -> dict[str, float]:
    """Largest difference from torch of each output at batch 1 and 7; ExportError above limits."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for count in (1, 7):
        crops = trial_crops(count, net.cfg.input_size)
        with torch.no_grad():
            expected = net.eval()(torch.from_numpy(crops).permute(0, 3, 1, 2).float())
        found = session.run(list(OUTPUTS), {"image": crops})
        for name, own, other in zip(OUTPUTS, found, expected, strict=True):
            if own.shape != tuple(other.shape):
                raise ExportError(f"{name} has shape {own.shape}, torch's {tuple(other.shape)}")
            worst[name] = max(worst[name], float(np.abs(own - other.numpy()).max()))
    for name, limit in tolerance.items():
        if not worst[name] <= limit:  # also refuses NaN
            raise ExportError(f"{name} differs from torch by {worst[name]:.2g}, limit {limit:g}")
    return worst


def triton_config(name: str) -> str:
    """Triton's ``config.pbtxt``: shapes come from the ONNX file."""
    return (
        f'name: "{name}"\n'
        'platform: "onnxruntime_onnx"\n'
        f"max_batch_size: {MAX_BATCH}\n"
        "dynamic_batching { }\n"
    )


def export(net: ATPN, folder: Path, figures: dict[str, Any]) -> dict[str, float]:
    """Write ``folder`` (``.../NAME/VERSION``) and Triton's configuration above it.

    Returns the differences from torch; raises ExportError and writes nothing if they are
    too large.
    """
    model = to_onnx(net)
    check(net, model)
    model = half_weights(model)
    worst = check(net, model, STORED_TOLERANCE)
    metadata = {**describe(net, folder), "figures": figures}
    write_model(folder, model, metadata, without_pose(model))
    replace_file(folder.parent / "config.pbtxt", triton_config(folder.parent.name).encode())
    return worst


def convert(model: bytes, precision: str, data: Path) -> tuple[bytes, dict[str, Any]]:
    """The graph in ``int8`` or ``fp16``, and what the metadata says of it.

    ExportError if every way to do it costs more accuracy than `compare` allows.
    """
    trial = Trial.load(data)
    candidates: list[tuple[str, Callable[[], bytes]]] = [("half precision", lambda: to_fp16(model))]
    if precision == "int8":
        crops = calibration_crops(data)
        candidates = [(r.name, partial(to_int8, model, crops, r)) for r in RECIPES]
    found = first_accurate(model, candidates, trial)
    if found is None:
        raise ExportError(f"{precision} is less accurate than allowed")
    name, converted, comparison = found
    details = {
        "precision": precision,
        "converted": name,
        "fp32_nme_percent": round(100 * comparison.base_nme, 4),
        "nme_percent": round(100 * comparison.other_nme, 4),
    }
    return converted, details


def export_converted(net: ATPN, folder: Path, precision: str, data: Path) -> dict[str, float]:
    """`export` for a graph of another precision; compared before it is converted."""
    model = to_onnx(net)
    worst = check(net, model)
    converted, details = convert(model, precision, data)
    write_model(folder, converted, {**describe(net, folder), **details, "figures": {}})
    return worst


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, required=True, help="a finished stage's .done.pt")
    parser.add_argument("--out", type=Path, required=True, help="version folder to write")
    parser.add_argument("--figures", type=Path, help="JSON of figures for the metadata")
    precision = parser.add_mutually_exclusive_group()
    for name in ("int8", "fp16"):
        precision.add_argument(
            f"--{name}", dest="precision", action="store_const", const=name, help="convert to it"
        )
    parser.add_argument("--data", type=Path, help="folder with faces.csv, for a conversion")
    args = parser.parse_args(arguments)
    if args.precision and not args.data:
        parser.error(f"--{args.precision} needs --data")
    return args


def main() -> int:
    """Export, compare, write; 1 if the graph must not be written."""
    args = parse()
    figures = json.loads(args.figures.read_text()) if args.figures else {}
    try:
        net = load_net(args.weights)
        if args.precision:
            worst = export_converted(net, args.out, args.precision, args.data)
        else:
            worst = export(net, args.out, figures)
    except ExportError as error:
        print(f"not written: {error}", file=sys.stderr)
        return 1
    differences = ", ".join(f"{name} {value:.1g}" for name, value in worst.items())
    print(f"{args.out}/model.onnx: largest differences from torch: {differences}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

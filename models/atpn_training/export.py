"""Exports trained weights to the ONNX file that is served, and refuses one that differs.

    python -m atpn_training.export --weights RUN/pose.done.pt --out models/artifacts/atpn/1
    python -m atpn_training.export --weights ... --out DIR --int8 --data DATA

``--int8`` and ``--fp16`` convert the graph and write it only if it stays as accurate on DATA's
validation faces; `atpn_training.compare` then says whether it is also faster.

The graph takes uint8 crops as they come from `atpn.geometry.crop`; transposition, cast and
normalisation are inside. It is compared with torch at two batch sizes before it is written.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from atpn_training.artifacts import replace_file, write_model
from atpn_training.compare import Trial, first_accurate
from atpn_training.compress import RECIPES, calibration_crops, to_fp16, to_int8
from atpn_training.net import (
    ATPN,
    VARIANTS,
    AlignmentBranch,
    NetConfig,
    Placed,
    cost,
    with_coordinates,
)

Array = NDArray[np.float32]
Images = NDArray[np.uint8]

OPSET = 17
OUTPUTS = ("landmarks", "pose", "confidence")
#: Largest differences from torch: of the crop's side, radians, probability.
TOLERANCE = {"landmarks": 1e-4, "pose": 1e-4, "confidence": 1e-4}
MAX_BATCH = 64  # for Triton's dynamic batching


class ExportError(Exception):
    """The exported graph is not the trained network."""


class PlacedConv(nn.Module):
    """A CoordConv with batch norm and ReLU for maps of one known size.

    The coordinates are constant, so their share of the convolution is a constant map that is
    added; nothing is concatenated at run time.
    """

    def __init__(self, layers: Placed, size: int) -> None:
        super().__init__()
        fused = fuse_conv_bn_eval(cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1]))
        kernel, stride = fused.kernel_size[0], fused.stride[0]
        features = fused.in_channels - 2
        self.conv = nn.Conv2d(features, fused.out_channels, kernel, stride, kernel // 2)
        self.conv.weight = nn.Parameter(fused.weight[:, :features])
        self.conv.bias = fused.bias
        grid = with_coordinates(torch.zeros(1, 0, size, size))
        place = F.conv2d(grid, fused.weight[:, features:], None, stride, kernel // 2)
        self.register_buffer("place", place.detach())
        self.place: Tensor  # (1, C_out, H, W)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, size, size) without coordinates to (B, C_out, H, W)."""
        return F.relu(self.conv(x) + self.place)


def placed(layers: nn.Module, size: int) -> nn.Module:
    """The layers for (B, C, size, size) maps, with constant coordinates if they see any."""
    return PlacedConv(layers, size) if isinstance(layers, Placed) else layers


class Served(nn.Module):
    """`ATPN` as it is served: (B, 112, 112, 3) uint8 RGB in, with constant coordinates.

    The same mathematics as `ATPN.forward`, written so that nothing in the graph depends on
    shapes; `check` compares the two.
    """

    def __init__(self, net: ATPN) -> None:
        super().__init__()
        self.net = deepcopy(net).eval().requires_grad_(False)
        branch, size = self.net.alignment, net.cfg.input_size // 4  # of F_I
        branch.mix = placed(branch.mix, size // 4)
        if isinstance(branch, AlignmentBranch):
            branch.down1.conv = placed(branch.down1.conv, size)
            branch.down2.conv = placed(branch.down2.conv, size // 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops to landmarks (B, points, 2), pose (B, 3) and confidence (B,)."""
        answer: tuple[Tensor, Tensor, Tensor] = self.net(image.permute(0, 3, 1, 2).float())
        return answer


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
        return path.read_bytes()


def trial_crops(count: int, size: int) -> Images:
    """Noise and smooth colour patches in turn: (count, size, size, 3)."""
    rng = np.random.default_rng(count)
    crops = rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    for i in range(0, count, 2):
        coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        crops[i] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return crops


def check(net: ATPN, model: bytes) -> dict[str, float]:
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
    for name, limit in TOLERANCE.items():
        if not worst[name] <= limit:  # also refuses NaN
            raise ExportError(f"{name} differs from torch by {worst[name]:.2g}, limit {limit:g}")
    return worst


def training_commit() -> str | None:
    """The commit of the checkout, with ``-dirty`` where files differ; None outside of one."""
    folder = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changes else head


def describe(net: ATPN, folder: Path) -> dict[str, Any]:
    """The metadata beside the model in ``folder`` (``.../NAME/VERSION``), without figures."""
    size, points = net.cfg.input_size, net.cfg.points
    return {
        "name": folder.parent.name,
        "version": folder.name,
        "description": "98 face landmarks, head pose and face confidence from one face crop",
        "source": "Xia et al., arXiv 2103.07615",
        "input": {
            "name": "image",
            "shape": ["batch", size, size, 3],
            "dtype": "uint8",
            "color_order": "RGB",
            "layout": "NHWC",
            "normalization": "inside the graph: (value - 127.5) / 64",
        },
        "outputs": [
            {
                "name": "landmarks",
                "shape": ["batch", points, 2],
                "dtype": "float32",
                "unit": "x, y in units of the crop's side, origin top-left, y down",
            },
            {
                "name": "pose",
                "shape": ["batch", 3],
                "dtype": "float32",
                "unit": "yaw, pitch, roll in radians",
            },
            {
                "name": "confidence",
                "shape": ["batch"],
                "dtype": "float32",
                "unit": "probability that the crop shows a face, 0..1; a face from 0.7",
            },
        ],
        "landmarks": f"WFLW-{points}",
        "roi": (
            "a square around the landmark rectangle's centre; side = its larger side x 1.5 "
            "(25 % at each boundary); black outside the image"
        ),
        "pose": {
            "rotation": "R = Rx(-pitch) Ry(yaw) Rz(roll)",
            "axes": "camera: x right, y down, z away; identity looks into the camera",
            "yaw": "positive: the nose towards the image's left",
            "pitch": "positive: up",
            "roll": "positive: clockwise on the image",
        },
        "cost": {name: vars(part) for name, part in cost(net).items()},
        "training_commit": training_commit(),
    }


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
    worst = check(net, model)
    write_model(folder, model, {**describe(net, folder), "figures": figures})
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


def load_net(path: Path, variant: str = "full") -> ATPN:
    """A network with the weights of a finished stage."""
    net = ATPN(NetConfig(variant=VARIANTS[variant]))
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


def main() -> int:
    """Export, compare, write; 1 if the graph must not be written."""
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
    args = parser.parse_args()
    if args.precision and not args.data:
        parser.error(f"--{args.precision} needs --data")
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

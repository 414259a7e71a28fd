"""Makes the exported graph smaller: half-precision weights; 8-bit integers or half floats inside.

Inputs and outputs stay as they are. Converted graphs are compared by `atpn_training.score.compare`.
"""

import csv
import io
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from atpn.geometry import crop, roi_from_landmarks
from atpn_training.data.images import Array, Images, read_rgb
from atpn_training.score.served import jittered

CALIBRATION = 128  # crops; the calibration holds all their activations, 8 MB each

#: Nodes of no module: normalisation, mean shape and heatmap, whose values need their precision.
FUNCTIONS = r"^/(net/)?[A-Z]\w*$"
#: What the heads see and do: the pose suffers first.
HEADS = r"^/(net/)?(tracking|pose|backbone/stem|backbone/stage1)/"
BACKBONE = r"^/(net/)?backbone/"
SQUEEZE_EXCITE = r"/(reduce|expand)/"
LAST_LAYERS = r"/(project|regress|mix)/"


@dataclass(frozen=True)
class Recipe:
    """What of the graph is computed in integers: operators, without nodes of these names."""

    name: str
    operators: tuple[str, ...]
    without: tuple[str, ...] = (FUNCTIONS,)


#: From the most integers to the fewest.
RECIPES = (
    Recipe("everything but the heatmap", ("Conv", "Add", "Mul", "Concat", "Gemm")),
    Recipe(
        "backbone and alignment but for F_I",
        ("Conv", "Add", "Mul", "Concat", "Gemm"),
        (FUNCTIONS, HEADS),
    ),
    Recipe(
        "their convolutions but for the last layers",
        ("Conv", "Add", "Concat"),
        (FUNCTIONS, HEADS, SQUEEZE_EXCITE, LAST_LAYERS),
    ),
    Recipe(
        "the alignment's convolutions but for the last layers",
        ("Conv", "Add", "Concat"),
        (FUNCTIONS, HEADS, BACKBONE, LAST_LAYERS),
    ),
)


class Crops(CalibrationDataReader):  # type: ignore[misc]
    """Feeds crops (N, 112, 112, 3) to the calibration in equal batches, as it wants them.

    What does not fill the last batch is left out.
    """

    def __init__(self, crops: Images, batch: int = 16) -> None:
        size = min(batch, len(crops))
        full = range(0, len(crops) - size + 1, size)
        self._batches: Iterator[Images] = iter([crops[i : i + size] for i in full])

    def get_next(self) -> dict[str, Images] | None:
        """The next batch by input name; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def calibration_crops(root: Path, count: int = CALIBRATION, seed: int = 0) -> Images:
    """Training faces (count, 112, 112, 3) as slightly wrong ROIs show them."""
    with (root / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = [i for i, row in enumerate(rows) if row["split"] == "train"]
    if not train:
        raise ValueError(f"{root / 'faces.csv'} has no training faces")
    rng = np.random.default_rng(seed)
    chosen = rng.choice(train, min(count, len(train)), replace=False)
    with np.load(root / "labels.npz") as labels:
        points: Array = labels["teacher98"][chosen]
    rois = jittered([roi_from_landmarks(p) for p in points], seed)
    return np.stack(
        [crop(read_rgb(root / rows[i]["file"]), r) for i, r in zip(chosen, rois, strict=True)]
    )


def excluded(model: onnx.ModelProto, recipe: Recipe) -> list[str]:
    """The names of the nodes that stay in floating point."""
    return [n.name for n in model.graph.node if any(re.search(p, n.name) for p in recipe.without)]


def to_int8(model: bytes, crops: Images, recipe: Recipe = RECIPES[0]) -> bytes:
    """The graph with quantise/dequantise pairs, per-channel weights, calibrated on ``crops``."""
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),  # the calibration's remarks
    ):
        warnings.simplefilter("ignore")  # of the quantiser, about its own dependencies
        source, prepared, target = (Path(folder) / f"{n}.onnx" for n in ("a", "b", "c"))
        source.write_bytes(model)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Crops(crops),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(recipe.operators),
            nodes_to_exclude=excluded(onnx.load(prepared), recipe),
            per_channel=True,
            # 7 bits: without VNNI, products of 8-bit numbers overflow their 16-bit sums.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Of the largest activations a few are far out; by their range NME rises by 5 %.
            calibrate_method=CalibrationMethod.Percentile,
        )
        return target.read_bytes()


def half_weights(model: bytes) -> bytes:
    """The graph with its matrices and kernels stored in half precision, at half the size.

    It computes as before: each is cast to FP32 when a runtime loads the file and folds constants.
    """
    loaded = onnx.load_from_string(model)
    casts = []
    for weight in loaded.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        name = weight.name
        half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}/half")
        weight.CopyFrom(half)
        casts.append(
            onnx.helper.make_node(
                "Cast", [half.name], [name], f"{name}/cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *loaded.graph.node]
    del loaded.graph.node[:]
    loaded.graph.node.extend(nodes)
    serialised: bytes = loaded.SerializeToString()
    return serialised


def to_fp16(model: bytes) -> bytes:
    """The graph in half precision, without the nodes whose values need more."""
    loaded = onnx.load_from_string(model)
    careful = excluded(loaded, Recipe("half precision", ()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights below the smallest half-precision number
        half = convert_float_to_float16(loaded, keep_io_types=True, node_block_list=careful)
    # The conversion forgets the outputs' shapes.
    for now, before in zip(
        half.graph.output, onnx.load_from_string(model).graph.output, strict=True
    ):
        now.type.CopyFrom(before.type)
    serialised: bytes = half.SerializeToString()
    return serialised

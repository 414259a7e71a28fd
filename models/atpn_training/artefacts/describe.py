"""What the metadata beside a model says of it."""

from pathlib import Path
from typing import Any

from atpn_training.data.images import FRAMED
from atpn_training.network.atpn import ATPN
from atpn_training.network.cost import cost
from atpn_training.train.checkpoint import training_commit


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
            f"a square around the landmark rectangle's centre; side = its larger side x {FRAMED} "
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

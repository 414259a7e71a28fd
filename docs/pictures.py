"""Draws the pictures of conventions.md: the numbers of the 98 points, and the axes of the pose.

python docs/pictures.py   (needs the extras `cpu`, `train` and `video`)
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

from atpn.geometry import rotation_from_euler
from atpn.landmarks import CONTOURS

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
COLOURS = {
    "jaw": "#475569",
    "left_brow": "#b45309",
    "right_brow": "#b45309",
    "nose_bridge": "#047857",
    "nose_base": "#047857",
    "left_eye": "#1d4ed8",
    "right_eye": "#1d4ed8",
    "outer_lips": "#be123c",
    "inner_lips": "#7e22ce",
}
TURNS = [
    ("looks ahead", 0, 0, 0),
    ("yaw +35", 35, 0, 0),
    ("pitch +25", 0, 25, 0),
    ("roll +25", 0, 0, 25),
]
#: Nose, down and sideways of the head as `atpn.faces.drawing` draws them: red, green, blue.
AXES = {"forward": ((0, 0, -1), "#dc2626"), "down": ((0, 1, 0), "#16a34a")}
AXES["side"] = ((1, 0, 0), "#2563eb")


def mean_face() -> NDArray[np.float64]:
    """The network's mean face S0: 98 points (98, 2) in units of the crop, y down."""
    state = torch.load(ROOT / "models" / "checkpoints" / "atpn-1.pt", weights_only=True)
    return np.asarray(state["mean_shape"].numpy().reshape(98, 2), np.float64)


UP, DOWN, RIGHT = (0.0, -0.012), (0.0, 0.012), (0.016, 0.0)
BELOW = {*range(38, 42), *range(47, 51), 93, 94, 95}  # lower brow edges, lower inner lip
ABOVE = {*range(33, 38), *range(42, 47), *range(88, 93)}


def label_offset(i: int, part: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the number of point ``i`` stands beside it."""
    if part == "nose_bridge":
        return np.array(RIGHT)
    if i in BELOW or i in ABOVE:
        return np.array(DOWN if i in BELOW else UP)
    first, end, _ = CONTOURS[part]
    middle = points.mean(0) if part == "jaw" else points[first:end].mean(0)
    away: NDArray[np.float64] = points[i] - middle
    return away / np.linalg.norm(away) * 0.0125


def landmark_map(points: NDArray[np.float64]) -> None:
    """landmarks.png: every point with its number, contours joined."""
    figure, axes = plt.subplots(figsize=(11, 11))
    for name, (first, end, closed) in CONTOURS.items():
        order = [*range(first, end), *([first] if closed else [])]
        axes.plot(*points[order].T, color=COLOURS[name], lw=1.2, alpha=0.5)
        axes.plot(*points[first:end].T, ".", color=COLOURS[name], ms=6)
        for i in range(first, end):
            x, y = points[i] + label_offset(i, name, points)
            axes.text(x, y, str(i), color=COLOURS[name], fontsize=8.5, ha="center", va="center")
    for i in (96, 97):
        axes.plot(*points[i], "o", color="#0f172a", ms=4)
        axes.text(points[i, 0], points[i, 1] + 0.016, str(i), fontsize=8.5, ha="center")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")
    figure.savefig(IMAGES / "landmarks.png", dpi=85, bbox_inches="tight")
    plt.close(figure)


def pose_signs(points: NDArray[np.float64]) -> None:
    """pose.png: heads as the image shows them, turned by one positive angle each."""
    figure, panels = plt.subplots(1, len(TURNS), figsize=(13, 3.8))
    depth = bulge(points)
    for panel, (title, *angles) in zip(panels, TURNS, strict=True):
        rotation = rotation_from_euler(*np.radians(angles))
        head = np.column_stack([points - points[54], depth]) @ rotation.T
        for first, end, closed in CONTOURS.values():
            order = [*range(first, end), *([first] if closed else [])]
            panel.plot(*head[order, :2].T, color="#64748b", lw=1)
        nose = head[54, :2]
        for axis, colour in AXES.values():
            tip = nose + (rotation @ axis)[:2] * 0.3
            panel.plot(*np.stack([nose, tip]).T, color=colour, lw=3, solid_capstyle="round")
            if np.linalg.norm(tip - nose) < 0.01:
                panel.plot(*nose, "o", color=colour, ms=8)
        panel.set_title(title + ("°" if any(angles) else ""), fontsize=12)
        panel.set(xlim=(-0.55, 0.55), ylim=(0.5, -0.55), aspect="equal", xticks=[], yticks=[])
    figure.savefig(IMAGES / "pose.png", dpi=80, bbox_inches="tight")
    plt.close(figure)


def bulge(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rough depth (98,) for the picture: a face is about half an egg, its nose stands out."""
    across = (points[:, 0] - points[54, 0]) / np.ptp(points[:, 0]) * 2
    depth = 0.28 * (1 - np.sqrt(np.clip(1 - across**2, 0, 1)))
    depth[51:60] -= np.linspace(0.0, 0.1, 9)[[0, 2, 5, 8, 3, 5, 6, 5, 3]]
    return np.asarray(depth - depth[54], np.float64)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    landmark_map(mean_face())
    pose_signs(mean_face())

"""YuNet, the detector that atpn ships, for the peer that looks for the face itself."""

import numpy as np
from numpy.typing import NDArray

from loadtests.peers.face import Box, session

STRIDES = (8, 16, 32)
OUTPUTS = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")]


class Finder:
    """The surest face of an image whose sides are multiples of 32 and at most 640 pixels."""

    def __init__(self) -> None:
        self._session = session("yunet")

    def box(self, image: NDArray[np.uint8]) -> Box:
        """(H, W, 3) RGB to the face's box in pixels."""
        out = self._session.run(OUTPUTS, {"image": image[None]})
        found = [
            best(cls[0, :, 0] * obj[0, :, 0], bbox[0], stride, image.shape[1] // stride)
            for stride, cls, obj, bbox in zip(STRIDES, out[::3], out[1::3], out[2::3], strict=True)
        ]
        return max(found)[1]


def best(
    scores: NDArray[np.float32], offsets: NDArray[np.float32], stride: int, columns: int
) -> tuple[float, Box]:
    """Score and box of the surest cell of one grid."""
    cell = int(scores.argmax())
    row, column = divmod(cell, columns)
    dx, dy, log_width, log_height = offsets[cell].tolist()
    cx, cy = (column + dx) * stride, (row + dy) * stride
    half_width, half_height = np.exp([log_width, log_height]) * (stride / 2)
    box = cx - half_width, cy - half_height, cx + half_width, cy + half_height
    return float(scores[cell]), box

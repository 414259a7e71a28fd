"""A camera that moves around the face of the test photograph, for a browser to look through."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from atpn.geometry import Image
from tests.clips import encoded

Matrix = NDArray[np.float64]

WIDTH, HEIGHT, RATE = 640, 480, 12
#: Where the photograph shows pupils, nose tip and mouth corners, as the README's example says.
FIVE = np.array(
    [[203.73, 100.14], [246.3, 102.64], [223.78, 128.16], [200.05, 138.1], [245.47, 140.14]]
)


@dataclass(frozen=True)
class Film:
    """Frames, and the (2, 3) matrix that takes the photograph to each."""

    frames: list[Image]
    matrices: list[Matrix]

    def distance(self, five: NDArray[np.float64]) -> float:
        """Pixels from these (5, 2) points to the true ones, in the frame that fits best."""
        true = [FIVE @ m[:, :2].T + m[:, 2] for m in self.matrices]
        return min(float(np.linalg.norm(five - points, axis=1).max()) for points in true)

    def shown(self, picture: Image) -> NDArray[np.float64]:
        """The true (5, 2) points in the frame that looks most like this picture (480, 640, 3)."""
        difference = [np.abs(frame.astype(np.int16) - picture).mean() for frame in self.frames]
        matrix = self.matrices[int(np.argmin(difference))]
        return np.asarray(FIVE @ matrix[:, :2].T + matrix[:, 2], np.float64)

    def write_mjpeg(self, path: Path) -> None:
        """JPEG after JPEG: what Chromium takes for the picture of a camera."""
        path.write_bytes(b"".join(encoded(frame) for frame in self.frames))

    def write_webm(self, path: Path) -> None:
        """A VP8 file that every browser plays."""
        code = cv2.VideoWriter.fourcc(*"VP80")
        writer = cv2.VideoWriter(str(path), code, RATE, (WIDTH, HEIGHT))
        assert writer.isOpened()
        for frame in self.frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()


def swaying(count: int = 48) -> Film:
    """A camera that sways, zooms and turns a little, and ends where it began."""
    photo: Image = skimage.data.astronaut()
    matrices, frames = [], []
    for i in range(count):
        phase = 2 * np.pi * i / count
        cx, cy = 225 + 30 * np.sin(phase), 165 + 10 * np.cos(2 * phase)
        scale = WIDTH / (330 + 40 * np.sin(phase))
        turn = cv2.getRotationMatrix2D((cx, cy), 7 * np.sin(phase), scale)
        matrix: Matrix = np.asarray(turn, np.float64)
        matrix[:, 2] += np.array([WIDTH / 2 - cx, HEIGHT / 2 - cy])
        frame = cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        matrices.append(matrix)
        frames.append(frame.astype(np.uint8))
    return Film(frames, matrices)

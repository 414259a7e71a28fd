"""Short clips for tracking tests: made from a packaged photograph, or real ones."""

from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from atpn.geometry import Image, square

SHARED_VIDEO = Path(__file__).resolve().parents[2] / "shared" / "video"


def encoded(image: Image, quality: int = 90) -> bytes:
    """An RGB image as JPEG bytes."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    assert ok
    return data.tobytes()


def view(image: Image, cx: float, cy: float, side: float, turn: float = 0.0) -> Image:
    """A 320x320 camera view centred on a point, ``side`` image pixels wide, turned in degrees."""
    box = square(cx, cy, side)
    matrix: NDArray[np.float64] = np.asarray(
        cv2.getRotationMatrix2D((cx, cy), turn, 320 / side), np.float64
    )
    matrix[:, 2] += np.array([160 - cx, 160 - cy])
    assert box.width > 0
    turned = cv2.warpAffine(image, matrix, (320, 320), borderMode=cv2.BORDER_REPLICATE)
    return turned.astype(np.uint8)


def panning(count: int) -> list[bytes]:
    """A camera that sways, zooms and turns around one real face."""
    photo: Image = skimage.data.astronaut()
    frames = []
    for i in range(count):
        phase = 2 * np.pi * i / 40
        frames.append(
            encoded(
                view(
                    photo,
                    225 + 45 * np.sin(phase),
                    130 + 25 * np.cos(phase),
                    250 + 50 * np.sin(phase / 2),
                    8 * np.sin(phase),
                )
            )
        )
    return frames


def video(path: Path, frames: list[bytes], fps: int = 20) -> Path:
    """Encoded frames of one size as a video file, of the format that its name ends in."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.bit_rate, stream.pix_fmt = 4_000_000, "yuv420p"
        for index, data in enumerate(frames):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            if index == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def two_faces() -> bytes:
    """One picture with two faces side by side: the photograph and its mirror image."""
    half = view(skimage.data.astronaut(), 225, 130, 300)
    return encoded(np.ascontiguousarray(np.concatenate([half, half[:, ::-1]], 1)))


def empty(index: int = 0) -> bytes:
    """A picture without a face."""
    return encoded(view(skimage.data.coffee(), 200 + index, 200, 300))


def real(name: str, count: int, step: int = 1) -> list[bytes]:
    """Frames of a real clip, as JPEG."""
    video = cv2.VideoCapture(str(SHARED_VIDEO / name))
    frames: list[bytes] = []
    while len(frames) < count:
        for _ in range(step):
            ok, frame = video.read()
        if not ok:
            break
        frames.append(encoded(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)))
    video.release()
    return frames

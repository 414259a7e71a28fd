"""The work that all peers do, as fast as a script would: decode, cut the box, run the network.

The region of a box is `atpn.geometry.roi_from_detection`'s. Nothing here imports atpn: peers
live in an environment of their own.
"""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import orjson
import simplejpeg
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Region = tuple[float, float, float]  # left, top, side
Answer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]  # per crop

MODELS = Path(__file__).resolve().parents[2] / "models" / "artifacts"
SIZE = 112  # pixels; the network's input
PACKED_BOX = "<4f"  # what stands before the JPEG where a body is all that a peer's worker gets


def session(name: str) -> ort.InferenceSession:
    """A shipped model on one thread a run: the peers run several at a time."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(
        MODELS / name / "1" / "model.onnx", options, providers=["CPUExecutionProvider"]
    )


def box_of(query: str) -> Box:
    """x0,y0,x1,y1, as they stand in a query."""
    x0, y0, x1, y1 = map(float, query.split(","))
    return x0, y0, x1, y1


def region(box: Box) -> Region:
    """The square that shows a detector's box as the network was trained to see it."""
    x0, y0, x1, y1 = box
    side = ((x1 - x0) * (y1 - y0)) ** 0.5 * 1.36
    return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2 + 0.125 * (y1 - y0), side


def decoded(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) RGB."""
    return np.asarray(simplejpeg.decode_jpeg(data, "RGB"))


def crop(image: NDArray[np.uint8], where: Region) -> NDArray[np.uint8]:
    """The region as (112, 112, 3); black outside the image."""
    left, top, side = where
    step = side / SIZE
    matrix = np.array([[step, 0, left + step / 2 - 0.5], [0, step, top + step / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=flags))


class Network:
    """Crops in, answers out; thread-safe, as ONNX Runtime's ``run`` is."""

    def __init__(self) -> None:
        self._session = session("atpn")

    def run(self, crops: NDArray[np.uint8]) -> Answer:
        """(N, 112, 112, 3) to landmarks (N, 98, 2) in sides, pose (N, 3), confidence (N,)."""
        landmarks, pose, confidence = self._session.run(
            ["landmarks", "pose", "confidence"], {"image": crops}
        )
        return landmarks, pose, confidence

    def face(self, data: bytes, box: Box) -> bytes:
        """JPEG and box to the JSON of its face: all that a server does for one request."""
        return self.answer(decoded(data), box)

    def answer(self, image: NDArray[np.uint8], box: Box) -> bytes:
        """The JSON of the face in the box of a decoded image."""
        where = region(box)
        landmarks, pose, confidence = self.run(crop(image, where)[None])
        return as_json(where, landmarks[0], pose[0], confidence[0])


def as_json(
    where: Region,
    landmarks: NDArray[np.float32],
    pose: NDArray[np.float32],
    confidence: np.float32,
) -> bytes:
    """One face in image pixels and degrees."""
    left, top, side = where
    points = (landmarks * np.float32(side) + np.array([left, top], np.float32)).round(2)
    yaw, pitch, roll = np.degrees(pose).round(2).tolist()
    face = {
        "box": np.concatenate([points.min(0), points.max(0)]),
        "confidence": round(float(confidence), 4),
        "landmarks": points,
        "pose": {"yaw": yaw, "pitch": pitch, "roll": roll},
    }
    answer: bytes = orjson.dumps({"faces": [face]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return answer

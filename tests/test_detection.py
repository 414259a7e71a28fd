"""When a quick look for large faces is enough, and that it finds what the thorough one does."""

import numpy as np
import pytest

from atpn.engine.inference import find_model, shipped_models
from atpn.faces.detection import LARGE, QUICK_SIDE, UNSURE, Detection, Detector, shrink_quickly
from atpn.faces.images import decode
from atpn.geometry import Image
from tests.clips import two_faces


class Counted(Detector):
    """Remembers how large the images were that its network saw."""

    def __init__(self) -> None:
        super().__init__(find_model(shipped_models(), "yunet"))
        self.seen: list[int] = []

    def _detect(self, image: Image, small: Image, threshold: float) -> list[Detection]:
        self.seen.append(max(small.shape[:2]))
        return super()._detect(image, small, threshold)


def on_canvas(photo: Image, side: int) -> Image:
    """The photograph at the top left of a square of grey."""
    canvas = np.full((side, side, 3), 128, np.uint8)
    canvas[: photo.shape[0], : photo.shape[1]] = photo
    return canvas


def test_a_large_face_is_found_quickly_where_the_thorough_search_has_it(astronaut: Image) -> None:
    detector = Counted()
    photo = astronaut[20:280, 90:350]
    (quick,) = detector.detect_large(np.kron(photo, np.ones((4, 4, 1), np.uint8)))
    assert detector.seen == [QUICK_SIDE]
    (thorough,) = detector.detect(np.kron(photo, np.ones((4, 4, 1), np.uint8)))
    assert quick.box.iou(thorough.box) > 0.8


def test_beside_a_small_face_others_are_looked_for_thoroughly(astronaut: Image) -> None:
    detector = Counted()
    canvas = on_canvas(astronaut, 1400)
    (face,) = detector.detect_large(canvas)
    assert max(face.box.width, face.box.height) < LARGE * 1400
    assert detector.seen == [QUICK_SIDE, detector.max_side]
    assert [face] == detector.detect(canvas)


def test_where_nothing_is_found_quickly_the_search_is_thorough() -> None:
    detector = Counted()
    assert detector.detect_large(np.full((700, 900, 3), 90, np.uint8)) == []
    assert detector.seen == [QUICK_SIDE, detector.max_side]


def test_a_small_image_is_searched_once(astronaut: Image) -> None:
    detector = Counted()
    detector.max_side = QUICK_SIDE
    assert len(detector.detect_large(astronaut)) == 1
    assert detector.seen == [QUICK_SIDE]


def test_two_faces_are_found_quickly_or_not() -> None:
    detector = Counted()
    photo = decode(two_faces(), 10_000_000)
    assert len(detector.detect_large(photo)) == len(detector.detect(photo)) == 2


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (3000, 4000), (300, 257), (1, 900)])
def test_shrinking_quickly_keeps_the_proportions(shape: tuple[int, int]) -> None:
    small = shrink_quickly(np.zeros((*shape, 3), np.uint8), 256)
    scale = 256 / max(shape)
    assert small.shape[:2] == tuple(max(1, round(n * scale)) for n in shape)


def test_what_is_small_enough_is_not_shrunk() -> None:
    assert shrink_quickly(np.zeros((200, 256, 3), np.uint8), 256).shape == (200, 256, 3)


def test_a_face_of_a_low_score_is_unsure(astronaut: Image) -> None:
    photo = astronaut[20:280, 90:350]
    (sure,) = Detector(find_model(shipped_models(), "yunet")).detect(photo)
    strict = Detector(find_model(shipped_models(), "yunet"), threshold=(sure.score + 1) / 2)
    assert strict.detect(photo) == strict.detect_large(photo) == []
    (unsure,) = strict.search(photo, small=False, unsure=True)
    assert UNSURE * strict.threshold <= unsure.score < strict.threshold
    assert unsure.box.iou(sure.box) > 0.8

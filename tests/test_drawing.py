"""Annotated pictures: drawn where the face is, asked for by Accept."""

import asyncio
import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest

from atpn.api import align
from atpn.faces.drawing import Mark, draw, rendered
from atpn.faces.encoded_image import EncodedImage
from atpn.faces.face import Face
from atpn.faces.images import Decoded
from atpn.geometry import Image, square
from tests.conftest import FakeServiceFactory, Service, png, until


def face(yaw: float = 0.0, scale: float = 100.0) -> Face:
    """98 points on a circle in the middle of a 400x300 picture."""
    angles = np.linspace(0, 2 * np.pi, 98, dtype=np.float32)
    circle = [200 + scale * np.cos(angles), 150 + scale * np.sin(angles)]
    points = np.stack(circle, 1).astype(np.float32)
    return Face(square(200, 150, 300), points, 0.9, np.array([yaw, 0, 0], np.float32))


def grey() -> Image:
    return np.full((300, 400, 3), 90, np.uint8)


def test_drawing_leaves_the_picture_itself_alone() -> None:
    picture = grey()
    drawn = draw(picture, [face()])
    assert (picture == 90).all()
    assert (drawn != 90).any()


def test_landmarks_are_drawn_where_they_are_and_nothing_in_the_corners() -> None:
    drawn = draw(grey(), [face()])
    assert (drawn[150, 300] != 90).any()
    assert (drawn[:20, :20] == 90).all()


def test_the_red_axis_points_where_the_nose_does() -> None:
    """Yaw > 0 is a head that looks to the image's left."""
    origin = face().landmarks[54]
    red = np.all(draw(grey(), [face(yaw=0.8)]) == (255, 60, 50), axis=2)
    assert red.any()
    assert np.flatnonzero(red.any(0)).mean() < origin[0]


def test_a_face_far_outside_the_picture_is_no_error() -> None:
    assert (draw(grey(), [face(scale=1e7)]) >= 0).all()


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png"])
async def test_a_request_that_accepts_a_picture_gets_its_own_annotated(
    service: Service, astronaut: Image, astronaut_jpeg: bytes, kind: str
) -> None:
    answer = await service.post("/align?min_confidence=0", astronaut_jpeg, accept=kind)
    assert answer.headers["content-type"] == kind
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == astronaut.shape
    change = np.abs(drawn[..., ::-1].astype(int) - astronaut).max(2)
    face_region, far_region = change[60:190, 165:285], change[300:, :150]
    assert (face_region > 60).mean() > 0.03
    assert (far_region > 60).mean() < 0.003


async def test_errors_stay_problem_documents_when_a_picture_was_asked_for(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service()
    answer = await fake.post("/align", b"no image", accept="image/png")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_drawing_is_part_of_its_request(
    fake_service: FakeServiceFactory, small_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(*_: object) -> bytes:
        begun.set()
        go_on.wait(20)
        return b"drawn"

    monkeypatch.setattr(align, "rendered", slow)
    fake = await fake_service(max_requests=1)
    first = asyncio.create_task(fake.post("/align", small_png, accept="image/png"))
    await until(begun.is_set)
    assert (await fake.post("/align", small_png)).status_code == 503
    go_on.set()
    assert (await first).content == b"drawn"
    go_on.clear()
    late = await fake.post("/align", small_png, accept="image/png", x_request_timeout="0.2")
    go_on.set()
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")


async def test_no_more_pictures_are_drawn_at_once_than_are_decoded(
    fake_service: FakeServiceFactory, small_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: list[int] = []
    most = 0

    def slow(*_: object) -> bytes:
        nonlocal most
        under_way.append(1)
        most = max(most, len(under_way))
        time.sleep(0.05)
        under_way.pop()
        return b"drawn"

    monkeypatch.setattr(align, "rendered", slow)
    fake = await fake_service(threads=2)
    asked = [fake.post("/align", small_png, accept="image/png") for _ in range(8)]
    assert {answer.content for answer in await asyncio.gather(*asked)} == {b"drawn"}
    assert most == 2


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png"])
def test_a_drawn_picture_keeps_its_colours_in_all_rows(kind: str) -> None:
    picture = np.zeros((200, 40, 3), np.uint8)
    picture[:] = (200, 100, 20)
    shown = cv2.imdecode(np.frombuffer(rendered(picture, [], kind), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert shown is not None
    assert np.abs(shown.astype(int) - (200, 100, 20)).max() < 4


async def test_a_picture_that_nobody_looked_at_is_decoded_beside_the_event_loop(
    fake_service: FakeServiceFactory, small_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    decode = EncodedImage._decode

    def noted(image: EncodedImage, *arguments: Any) -> Decoded:
        threads.append(threading.current_thread())
        return decode(image, *arguments)

    monkeypatch.setattr(EncodedImage, "_decode", noted)
    fake = await fake_service()
    drawn = await fake.post("/align?boxes=[]", small_png, accept="image/png")
    assert drawn.status_code == 200
    assert threads
    assert threading.current_thread() not in threads


async def test_a_picture_that_is_too_long_for_a_jpeg_can_be_had_as_png(
    fake_service: FakeServiceFactory,
) -> None:
    long = png(np.zeros((1, 65_501, 3), np.uint8))
    fake = await fake_service()
    refused = await fake.post("/align", long, accept="image/jpeg")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert (await fake.post("/align", long, accept="image/png")).status_code == 200


@pytest.mark.parametrize("height", [300, 255], ids=["room below", "no room below"])
def test_notes_stand_below_the_face_and_inside_the_picture(height: int) -> None:
    picture, points = grey()[:height], face().landmarks
    plain, noted = draw(picture, [Mark(points)]), draw(picture, [Mark(points, notes=("A", "B"))])
    rows = np.flatnonzero((plain != noted).any((1, 2)))
    assert len(rows) > 15  # two lines
    assert rows[-1] < height - 3
    assert rows[0] > (250 if height == 300 else 210)

"""Faces in this process: the same as a service answers, by the same names."""

import inspect
import math
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from atpn import Client, FaceAligner
from atpn.client import Result, ServiceError
from atpn.geometry import Image
from atpn.settings import Settings
from tests import clips
from tests.server import Server, running

FACE = (178, 63, 268, 176)  # of the astronaut


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    """The shipped models."""
    return FaceAligner(Settings())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service with the same settings."""
    with running() as started:
        yield started


def told(result: Result) -> dict[str, object]:
    """The answer, without the times."""
    return {name: value for name, value in result.answer.items() if name != "ms"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"points": 5, "pose": True},
        {"boxes": [FACE], "boxes_are": "landmarks", "min_confidence": 0.1},
        {"boxes": [], "boxes_are": None},
        {"max_faces": 1, "points": 68},
        {"signals": True, "pose": True},
        {"quality": "best", "pose": True},
        {"quality": "best", "boxes": [FACE, FACE]},
    ],
)
def test_photographs_are_answered_as_by_the_service(
    options: dict[str, object], aligner: FaceAligner, server: Server, astronaut_jpeg: bytes
) -> None:
    with Client(server.url) as client:
        here = aligner.align(astronaut_jpeg, **options)  # type: ignore[arg-type]
        there = client.align(astronaut_jpeg, **options)  # type: ignore[arg-type]
    assert told(here) == told(there)
    assert here.ms.keys() == there.ms.keys()


def test_streams_are_answered_as_by_the_service(aligner: FaceAligner, server: Server) -> None:
    frames = list(clips.panning(8))
    with Client(server.url) as client:
        there = list(client.track(frames, signals=True, fps=20))
    here = list(aligner.track(frames, signals=True, fps=20))
    assert [told(frame) for frame in here] == [told(frame) for frame in there]
    assert [frame.index for frame in here] == list(range(8))
    assert [frame.faces[0].signals.blinks.count for frame in here] == [0] * 8


def test_signals_are_corrected_by_the_head_pose_also_where_that_is_not_asked_for(
    aligner: FaceAligner, server: Server
) -> None:
    """Without one the network may leave the pose out; signals cannot do without."""
    frames = list(clips.panning(6))
    with Client(server.url) as client:
        for faces in (aligner, client):
            told = [
                [frame.faces[0].signals for frame in faces.track(frames, signals=True, pose=pose)]
                for pose in (False, True)
            ]
            assert told[0] == told[1]
            plain, posed = (faces.align(frames[3], signals=True, pose=p) for p in (False, True))
            assert plain.faces[0].signals == posed.faces[0].signals


def test_pixels_are_taken_as_they_are(aligner: FaceAligner, astronaut: Image) -> None:
    (face,) = aligner.align(astronaut).faces
    (same,) = aligner.align(png(astronaut)).faces
    assert np.array_equal(face.landmarks, same.landmarks)
    assert len(aligner.pose(astronaut[..., 0]).faces) == 1  # grey


def png(image: Image) -> bytes:
    """Without loss."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def test_the_methods_take_what_the_clients_take() -> None:
    for name in ("align", "pose", "batch", "track"):
        ours = inspect.signature(getattr(FaceAligner, name)).parameters
        theirs = inspect.signature(getattr(Client, name)).parameters
        assert list(ours) == list(theirs)
        assert {n: p.default for n, p in ours.items() if n != "boxes_are"} == {
            n: p.default for n, p in theirs.items() if n != "boxes_are"
        }


def test_what_a_service_would_refuse_is_refused_with_its_code(
    aligner: FaceAligner, astronaut_jpeg: bytes
) -> None:
    with pytest.raises(ServiceError) as refused:
        aligner.align(b"no image")
    assert (refused.value.code, refused.value.status) == ("invalid_image", 422)
    with pytest.raises(ServiceError, match="invalid_box"):
        aligner.align(astronaut_jpeg, boxes=[(600, 600, 700, 700)])
    first, second = aligner.batch([b"no image", astronaut_jpeg])
    assert first.error is not None
    assert first.error.code == "invalid_image"
    assert len(second.faces) == 1


def test_a_bad_frame_is_an_error_of_its_own(aligner: FaceAligner, astronaut_jpeg: bytes) -> None:
    frames = list(aligner.track([astronaut_jpeg, b"junk", astronaut_jpeg], smoothing=True))
    assert [frame.state for frame in frames] == ["detected", "error", "tracked"]
    assert frames[0].faces[0].track_id == frames[2].faces[0].track_id
    assert frames[2].faces[0].smoothed.shape == (98, 2)


def test_in_real_time_the_newest_frame_wins_and_the_others_are_counted(
    aligner: FaceAligner, astronaut: Image
) -> None:
    """Frames come faster than they are looked at until the last, which is answered."""
    results = list(aligner.track([astronaut] * 300, realtime=True))
    assert len(results) < 300
    assert results[-1].index == 299
    assert sum(1 + result.dropped for result in results) == 300
    assert [result.seq for result in results] == list(range(1, len(results) + 1))
    assert results[-1].answer["dropped"] == results[-1].dropped
    assert {face.track_id for result in results for face in result.faces} == {1}


def test_threads_may_share_it(aligner: FaceAligner, astronaut_jpeg: bytes) -> None:
    expected = told(aligner.align(astronaut_jpeg))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(aligner.align, [astronaut_jpeg] * 12))
    assert all(told(answer) == expected for answer in answers)


def test_it_needs_no_web_framework_and_leaves_pillows_own_limit() -> None:
    web = ["fastapi", "starlette", "uvicorn"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({web}));"
        "from atpn import FaceAligner;"
        "assert len(FaceAligner().align('tests/photos/astronaut.jpg').faces);"
        "from PIL import Image; assert Image.MAX_IMAGE_PIXELS"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"quality": "better"},
        {"boxes_are": "hat", "boxes": [FACE]},
        {"points": 7},
        {"max_faces": 0},
        {"min_confidence": 2},
        {"boxes": [(1, 2, 3)]},
        {"boxes": [(1, 2, math.nan, 4)]},
        {"boxes": [(30, 30, 10, 10)]},
        {"boxes": [FACE] * 1000},
        {"boxes": [(9000, 9000, 9100, 9100)]},
    ],
)
def test_what_the_service_refuses_is_refused_here_with_its_words(
    options: dict[str, object], aligner: FaceAligner, server: Server, astronaut_jpeg: bytes
) -> None:
    told = []
    with Client(server.url) as client:
        for faces in (aligner, client):
            with pytest.raises(ServiceError) as refused:
                faces.align(astronaut_jpeg, **options)  # type: ignore[arg-type]
            told.append((refused.value.code, refused.value.detail, refused.value.status))
    assert told[0] == told[1]


@pytest.mark.parametrize("options", [{"fps": -1}, {"points": 7}, {"max_faces": 0}])
def test_a_stream_that_the_service_refuses_is_refused_here(
    options: dict[str, Any], aligner: FaceAligner, astronaut_jpeg: bytes
) -> None:
    with pytest.raises(ServiceError, match=next(iter(options))):
        list(aligner.track([astronaut_jpeg], **options))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((8,), np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused_here_as_by_the_client(
    picture: Image, aligner: FaceAligner, server: Server
) -> None:
    with Client(server.url) as client:
        for faces in (aligner, client):
            with pytest.raises(ValueError, match="an image is a"):
                faces.align(picture)


@pytest.mark.parametrize("single", ["talk.mp4", Path("talk.mp4"), b"\xff\xd8"])
def test_a_single_image_or_a_video_file_is_no_list_of_images(
    aligner: FaceAligner, single: Any
) -> None:
    with pytest.raises(TypeError, match="a list of images is expected"):
        next(aligner.track(single))
    with pytest.raises(TypeError, match="a list of images is expected"):
        aligner.batch(single)
    with pytest.raises(TypeError, match="an image is a path, bytes or an array"):
        aligner.align(5)  # type: ignore[arg-type]


def test_what_is_written_for_a_client_runs_with_an_aligner(
    server: Server, astronaut_jpeg: bytes
) -> None:
    for opened in (Client(server.url), FaceAligner(Settings())):
        with opened as faces:
            assert len(faces.align(astronaut_jpeg).faces) == 1
        opened.close()  # once more changes nothing

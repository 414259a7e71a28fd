"""A clip is followed as a stream of the service is, and measured by what was done."""

from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import skimage.data

from atpn.assembly import run_core
from atpn.engine.inference import FaceNetwork, Predictions, find_model, shipped_models
from atpn.faces.detection import Detection
from atpn.faces.face import Face
from atpn.faces.stream import Stream
from atpn.faces.tracking import Rules
from atpn.geometry import Box, Image, square
from atpn_training.score.following import (
    Follower,
    Step,
    follow,
    frames,
    jitter,
    lingering,
    tracking_figures,
)
from atpn_training.score.served import shipped_detector
from tests.clips import view
from tests.conftest import FakeDetector, FakeNetwork, SettingsFactory, png
from tests.training.synthetic import face_points, write_video

BLANK: Image = np.zeros((64, 64, 3), np.uint8)


def step(*ids: int, given_up: int = 0, moved: float = 0.0) -> Step:
    """A frame with these tracks, whose landmarks are moved to the right in pixels."""
    points = face_points(np.random.default_rng(0)) + np.array([moved, 0], np.float32)
    seen = Face(square(0, 0, 1), points, 0.9, np.zeros(3, np.float32))
    return Step(dict.fromkeys(ids, seen), given_up, looked=not ids)


def chance(image: Image) -> np.random.Generator:
    """Random numbers that are always the same for the same pixels."""
    return np.random.default_rng(crc32(image.tobytes()))


class FickleNetwork(FakeNetwork):
    """Is sure, unsure or blind, and sees the face a little aside, as the crop's pixels have it."""

    def run(self, crops: Image, pose: bool = True) -> Predictions:
        """As the fake network, with other confidences and places."""
        out, rngs = super().run(crops, pose), [chance(crop) for crop in crops]
        aside = np.array([rng.normal(0, 0.04, (1, 2)) for rng in rngs], np.float32)
        confidence = [rng.choice([0.95, 0.6, 0.1], p=[0.35, 0.2, 0.45]) for rng in rngs]
        return replace(
            out, landmarks=out.landmarks + aside, confidence=np.array(confidence, np.float32)
        )


class FickleDetector(FakeDetector):
    """Finds three boxes where the image's pixels have them."""

    def detect(self, image: Image) -> list[Detection]:
        """Boxes of 20 to 40 pixels."""
        rng = chance(image)
        places = rng.uniform([20, 20, 20], [140, 100, 40], (3, 3))
        return [Detection(square(*place), 0.9) for place in places]


@pytest.mark.parametrize("seed", range(3))
async def test_a_clip_is_followed_as_the_service_follows_a_stream(
    settings: SettingsFactory, seed: int
) -> None:
    """Through losses, retries, newcomers, faces that meet and a change of size: frame by frame."""
    rng, rules = np.random.default_rng(seed), Rules(redetect_every=3)
    sizes = [(120, 160)] * 60 + [(150, 200)] * 60
    clip = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    follower = Follower(FickleNetwork(), FickleDetector(), rules)
    steps = [follower.advance(image) for image in clip]
    async with run_core(settings(), FickleNetwork(), FickleDetector()) as core:
        stream = Stream(core.pipeline, core.store, core.tokens, None, rules)
        answers = [await stream.frame(png(image), 0) for image in clip]
        await stream.close()
    assert sum(step.given_up for step in steps) > 10
    for step, answer in zip(steps, answers, strict=True):
        assert list(step.faces) == [track.track_id for track, _ in answer.faces]
        for ours, (_, theirs) in zip(step.faces.values(), answer.faces, strict=True):
            assert np.array_equal(ours.landmarks, theirs.landmarks)
            assert ours.confidence == theirs.confidence


def test_a_face_is_followed_with_one_look_of_the_detector() -> None:
    network = FaceNetwork(find_model(shipped_models(), "atpn"))
    photo = skimage.data.astronaut()
    clip = [view(photo, 225 + 30 * np.sin(i / 5), 130, 260) for i in range(12)]
    steps = follow(network, shipped_detector(), clip)
    assert [list(s.faces) for s in steps] == [[1]] * 12
    assert [s.looked for s in steps] == [True, *[False] * 11]


def test_a_face_that_is_not_there_is_looked_for_ever_more_rarely() -> None:
    network = FakeNetwork()
    looked = [s.looked for s in follow(network, FakeDetector(), [BLANK] * 40)]
    assert looked[:3] == [True] * 3
    assert sum(looked[3:]) < 20
    assert network.batches == []


def test_a_face_that_turned_out_of_its_roi_is_found_by_a_retry() -> None:
    """Neither the detector nor the first ROI sees it, a rung of the ladder does."""
    network, detector = FakeNetwork(), FakeDetector(Box(8, 8, 40, 40))
    follower = Follower(network, detector)
    first = follower.advance(BLANK)
    detector.boxes.clear()
    sure = [0.1, 0.9]  # of the ROI, then of the ladder's rungs
    network.run = lambda crops, pose=True: replace(  # type: ignore[method-assign]  # noqa: ARG005
        FakeNetwork().run(crops), confidence=np.full(len(crops), sure.pop(0), np.float32)
    )
    second = follower.advance(BLANK)
    assert list(second.faces) == list(first.faces) == [1]
    assert (second.given_up, second.looked) == (0, False)


def test_the_figures_count_from_the_first_face_on() -> None:
    steps = [step(), step(1), step(1), step(given_up=1), step(2), step(2)]
    found = tracking_figures(steps)
    assert found["first"] == 1
    assert found["lost_percent"] == 20
    assert found["given_up_per_1000"] == 200
    assert found["detector_percent"] == 20


def test_a_clip_without_a_face_has_no_figures() -> None:
    assert tracking_figures([step(), step()]) == {"frames": 2, "first": None}


def test_even_motion_is_no_jitter() -> None:
    assert jitter([step(1, moved=3.0 * i) for i in range(5)]) == pytest.approx(0, abs=1e-6)


def test_jitter_is_in_interocular_distances() -> None:
    points = face_points(np.random.default_rng(0))
    eyes = float(np.linalg.norm(points[60] - points[72]))
    shaken = [step(1, moved=eyes / 100 * (i % 2)) for i in range(6)]
    assert jitter(shaken) == pytest.approx(0.01, rel=1e-3)


def test_jitter_needs_a_face_in_three_frames() -> None:
    assert jitter([step(1), step(1), step(2)]) is None


def test_frames_after_the_face_left_are_counted() -> None:
    steps = [step(1), step(1), step(1), step(1), step(), step(2), step()]
    present = np.array([True, True, False, False, False, False, False])
    assert lingering(steps, present) == {
        "faceless_frames": 5,
        "lingered_frames": 2,
        "false_frames": 3,
    }


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4 is not a video"):
        list(frames(path))


def test_the_frames_of_a_video_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 250
    write_video(tmp_path / "red.avi", [red] * 3)
    found = list(frames(tmp_path / "red.avi"))
    assert len(found) == 3
    assert found[0][..., 0].min() > 200
    assert found[0][..., 2].max() < 60

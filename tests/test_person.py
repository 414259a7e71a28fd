"""Blinks are counted with their times, and a person's own face is learnt from frame to frame."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from atpn.faces.person import LONGEST_BLINK_S, Person, met
from atpn.faces.signals import AVERAGE, Ratios, Rest, signals_of

FPS = 25.0


def looks(eyes: float | None, mouth: float | None = 0.83, brows: float | None = 0.32) -> Ratios:
    """A face whose eyes have that ratio."""
    pupil = None if eyes is None else (0.0, 0.0)
    return Ratios(eyes, eyes, pupil, pupil, 0.0, mouth, brows)


def persons(
    frames: Iterable[Ratios], person: Person | None = None, fps: float = FPS, first: int = 1
) -> Iterator[Person]:
    """The person after each frame."""
    person = person or Person()
    for seq, ratios in enumerate(frames, first):
        person = met(person, ratios, seq, seq / fps)
        yield person


def after(frames: Iterable[Ratios], person: Person | None = None, first: int = 1) -> Person:
    """The person after the last one."""
    return list(persons(frames, person, first=first))[-1]


def eyes(*parts: tuple[int, float | None]) -> list[Ratios]:
    """So many frames with that ratio, one part after the other."""
    return [looks(ratio) for count, ratio in parts for _ in range(count)]


def test_a_blink_is_told_when_the_eyes_are_open_again() -> None:
    counts = [p.blinks for p in persons(eyes((50, 0.3), (4, 0.1), (2, 0.3)))]
    assert counts == [0] * 54 + [1, 1]
    last = after(eyes((50, 0.3), (4, 0.1), (2, 0.3))).last
    assert last is not None
    assert (last.seq, last.at_s, last.length_s) == pytest.approx((51, 51 / FPS, 4 / FPS))


def test_while_the_eyes_are_closed_it_is_known_since_when() -> None:
    person = after(eyes((50, 0.3), (3, 0.1)))
    assert person.closed is not None
    assert (person.closed.seq, person.closed.at_s) == (51, 51 / FPS)


def test_ratios_that_tremble_about_the_threshold_are_one_blink() -> None:
    trembling = eyes((50, 0.3), *[(1, 0.19), (1, 0.22)] * 4, (5, 0.3))
    assert after(trembling).blinks == 1


def test_a_closure_that_lasts_is_no_blink() -> None:
    frames = round(LONGEST_BLINK_S * FPS) + 2
    assert after(eyes((50, 0.3), (frames, 0.1), (5, 0.3))).blinks == 0


def test_eyes_that_were_never_seen_open_have_not_blinked() -> None:
    """They may be narrow ones, which are not known yet."""
    assert after(eyes((4, 0.1), (50, 0.3))).blinks == 0
    assert after(eyes((1, 0.3), (4, 0.1), (50, 0.3))).blinks == 1
    assert after(eyes((400, 0.2))).blinks == 0


def test_eyes_that_are_turned_away_meanwhile_have_not_blinked() -> None:
    assert after(eyes((50, 0.3), (2, 0.1), (1, None), (5, 0.3))).blinks == 0


def test_one_eye_that_can_be_seen_is_enough() -> None:
    frames = [replace(f, left_eye=None) for f in eyes((50, 0.3), (3, 0.1), (3, 0.3))]
    assert after(frames).blinks == 1


def test_a_wink_is_no_blink() -> None:
    frames = eyes((50, 0.3), (4, 0.3), (5, 0.3))
    frames[50:54] = [replace(f, left_eye=0.15) for f in frames[50:54]]
    assert after(frames).blinks == 0


@pytest.mark.parametrize("seconds", [-1.0, 60.0])
def test_a_closure_before_a_gap_is_forgotten(seconds: float) -> None:
    """The stream was resumed much later, or the clock went back."""
    person = after(eyes((50, 0.3), (3, 0.1)))
    again = met(person, looks(0.3), 54, person.at_s + seconds)
    assert (again.blinks, again.closed) == (0, None)


@pytest.mark.parametrize("own", [0.2, 0.25, 0.38])
def test_blinks_of_narrow_and_of_wide_eyes_count_once_they_are_known(own: float) -> None:
    seen = after(eyes((400, own)))
    assert after(eyes((5, own), (4, 0.4 * own), (5, own)), seen, first=401).blinks == 1
    assert signals_of(looks(own), seen.rest).left_eye.open == pytest.approx(1, abs=0.2)


def test_the_open_eyes_are_those_of_most_frames_and_blinks_do_not_change_them() -> None:
    random = np.random.default_rng(1)
    frames = [looks(0.12 if i % 60 > 55 else random.normal(0.24, 0.01)) for i in range(1501)]
    person = after(frames)
    assert person.rest.open_eye == pytest.approx(0.245, abs=0.01)
    assert person.rest.closed_eye == pytest.approx(0.12, abs=0.01)
    assert person.blinks == 25


def test_who_sleeps_for_half_a_minute_still_has_closed_eyes() -> None:
    person = after(eyes((500, 0.3), (round(30 * FPS), 0.08)))
    assert signals_of(looks(0.08), person.rest).left_eye.open == 0
    assert person.closed is not None


def test_a_mouth_and_brows_at_rest_are_learnt_and_a_smile_shows_beside_them() -> None:
    own = looks(0.3, mouth=0.9, brows=0.4)
    person = after([own] * 400)
    rest = signals_of(own, person.rest)
    assert rest.smile == pytest.approx(0, abs=0.1)
    assert rest.brow_raise == pytest.approx(0, abs=0.1)
    smile = signals_of(looks(0.3, mouth=1.05, brows=0.4), person.rest).smile
    assert smile is not None
    assert smile > 0.6
    assert after([looks(0.3, mouth=1.05)] * 50, person).rest.mouth_width < 0.93


def test_what_cannot_be_seen_is_not_learnt_from() -> None:
    person = after([looks(None, None, None)] * 50)
    assert person.rest == AVERAGE
    assert person.frames == 50


@pytest.mark.parametrize("extreme", [0.0, 5.0])
def test_no_face_is_learnt_that_nobody_has(extreme: float) -> None:
    rest = after([looks(extreme, extreme, extreme)] * 5000).rest
    assert 0.18 <= rest.open_eye <= 0.5
    assert 0 < rest.closed_eye < rest.open_eye
    assert 0.7 <= rest.mouth_width <= 0.95
    assert isinstance(rest, Rest)


@pytest.mark.parametrize("every", [2, 3, 6])
def test_a_blink_counts_though_frames_were_dropped_before_it(every: int) -> None:
    person = Person()
    for place, ratios in enumerate(eyes((2, 0.3), (2, 0.1), (2, 0.3))):
        seq = 1 + every * place
        person = met(person, ratios, seq, seq / 30)
    assert person.blinks == 1

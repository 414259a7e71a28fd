"""Stored sessions and resume tokens: what is read can be gone on with, the rest is refused.

An input is a line that is a token, and the bytes that the store has for it.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np

from atpn.engine.inference import Prediction
from atpn.errors import CallersFault
from atpn.faces.face import Face, faces_of
from atpn.faces.frame import follow_frame, observed
from atpn.faces.images import Decoded
from atpn.faces.looking import Detect, drive
from atpn.faces.person import Blink, Closure, Person
from atpn.faces.saved_state import VERSION, WITHOUT_PERSONS, from_bytes, to_bytes
from atpn.faces.tracking import Rules, State, Track
from atpn.geometry import CROP_SIZE, Box, square
from atpn.sessions import Tokens, key_of
from tests.fuzz.target import Target

RULES = Rules()
FRAMES = 3
WIDTH, HEIGHT = 64, 48
TOKENS = Tokens(["key"])
POINTS = np.random.default_rng(1).uniform(0.2, 0.8, (98, 2)).astype(np.float32)  # of a crop
PICTURE = Decoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
STRAIGHT = np.zeros(3, np.float32)


def check(data: bytes) -> None:
    """A state that is read survives being written, and the frames after it."""
    head, _, stored = data.partition(b"\n")
    for _, token in parse_qsl("token=" + head.decode("latin-1")):
        assert not TOKENS.accepts(token), "a token that we did not sign"
        assert len(key_of(token)) == 64
    try:
        state = from_bytes(stored)
    except CallersFault:
        return
    again = from_bytes(to_bytes(state))
    assert from_bytes(to_bytes(again)) == again
    followed(state)


def followed(state: State) -> None:
    """The next frames of a stream that resumes with the state."""
    confidences = answers()
    for number in range(FRAMES):
        state = replace(state, seq=state.seq + 1)

        def see(rois: list[Box]) -> list[Face]:
            for roi in rois:
                assert PICTURE.crop(roi).shape == (CROP_SIZE, CROP_SIZE, 3)
            seen = [Prediction(POINTS, STRAIGHT, next(confidences)) for _ in rois]
            return faces_of(rois, seen)

        def search(_: Detect) -> list[Box]:
            return [square(20, 20, 16), square(44, 24, 16)]

        after = drive(follow_frame(state, WIDTH, HEIGHT + number, RULES), see, search)
        after = observed(after, number / 25) if number else after
        assert set(after.faces) == {track.track_id for track in after.state.tracks}
        assert len(after.shown) == len(after.state.tracks)
        state = from_bytes(to_bytes(after.state))


def answers() -> Iterator[float]:
    """Confidences that a face is sure, unsure and lost of in turn."""
    while True:
        yield from (0.9, 0.6, 0.1)


def seeds() -> list[bytes]:
    """States as they are written, of this and other versions."""
    track = Track(1, Box(10.5, 11.25, 40, 41, 0.1), seen=7, vx=1.5, vy=-0.25)
    turned = replace(track, track_id=2, roi=square(50, 20, 12), weak=2, generation=3)
    person = Person(closed=Closure(6, 0.1, 0.1), blinks=1, last=Blink(2, 0.05, 0.1), frames=6)
    states = [
        State(),
        State(7, 64, 48, 2, 5, 0, (track,), ()),
        State(99, 640, 480, 4, 90, 20, (track, turned), (replace(track, track_id=3),)),
        State(7, 64, 48, 2, 5, 0, (replace(track, person=person),), ()),
    ]
    token = TOKENS.new()[:-1] + "?"
    written = [token.encode() + b"\n" + to_bytes(state) for state in states]
    return [
        *written,
        b"a.b\n{}",
        b"%FF%00.\n[]",
        b'\n{"v":1}',
        b'\n{"v":%d,"seq":1e999,"size":[1,1]}' % WITHOUT_PERSONS,
        b'\n{"v":%d,"seq":1e999,"size":[1,1]}' % VERSION,
        b"\n" + to_bytes(states[3]).replace(b"0.29", b"-1e9"),
        b"\n" + to_bytes(states[1]).replace(b"10.5", b"NaN"),
        b"\n" + to_bytes(states[1]).replace(b"11.25", b"1e308"),
        b"\n" + to_bytes(states[1]).replace(b"64", b"1e30"),
        b"\n" + b"[" * 2000,
        b"\n",
    ]


STATES = Target("states", lambda: nullcontext(check), seeds)

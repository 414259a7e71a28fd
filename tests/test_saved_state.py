"""A stream's state survives the session store, also one of the version before, and stays small."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atpn.errors import InvalidRequest
from atpn.faces import saved_state
from atpn.faces.person import Blink, Closure, Person
from atpn.faces.signals import Rest
from atpn.faces.tracking import State, Track
from atpn.geometry import Box

#: What docs/track.md says of the size: bytes of a session, and of each face in it.
SESSION_BYTES, FACE_BYTES, PERSON_BYTES = 110, 90, 150
#: As version 2 wrote it.
VERSION_2 = (
    b'{"v":2,"seq":12,"size":[640,480],"next":3,"detected":9,"vain":0,"tracks":[[2,12,201.25,133.5,'
    b'398.75,331.0,0.1234,1.25,-0.75,1,0]],"lost":[[1,10,10.0,20.0,110.0,120.0,0.0,0.0,0.0,2,3]]}'
)
FIELDS = b'{"v":2,"seq":%b,"size":[1,1],"next":1,"detected":0,"vain":0,"tracks":[%b],"lost":[]}'


def rounded(low: float, high: float, digits: int) -> st.SearchStrategy[float]:
    """Numbers as the store keeps them."""
    return st.floats(low, high).map(lambda v: round(v, digits))


coordinates = rounded(-5000, 5000, 2)
counts, times = st.integers(0, 10**9), rounded(0, 4e9, 3)
persons = st.builds(
    Person,
    rest=st.builds(
        Rest,
        open_eye=rounded(0.25, 0.5, 5),
        closed_eye=rounded(0.125, 0.1375, 5),
        mouth_width=rounded(0.7, 0.95, 5),
        brows=rounded(0.2, 0.5, 5),
    ),
    frames=counts,
    at_s=times,
    blinks=counts,
    closed=st.none() | st.builds(Closure, counts, times, rounded(0, 1, 4)),
    last=st.none() | st.builds(Blink, counts, times, rounded(0, 1, 3)),
)
tracks = st.lists(
    st.builds(
        Track,
        st.integers(1, 10**9),
        st.builds(Box, coordinates, coordinates, coordinates, coordinates),
        counts,
        person=st.none() | persons,
    ),
    max_size=8,
).map(tuple)


@given(
    st.builds(
        State,
        seq=st.integers(0, 2**53),
        width=st.integers(0, 10000),
        height=st.integers(0, 10000),
        next_id=st.integers(1, 10**9),
        detected=counts,
        tracks=tracks,
        lost=tracks,
    )
)
def test_a_state_survives_its_serialisation(state: State) -> None:
    assert saved_state.from_bytes(saved_state.to_bytes(state)) == state


def test_a_state_of_the_version_before_is_resumed_and_its_persons_are_unknown() -> None:
    state = saved_state.from_bytes(VERSION_2)
    assert (state.seq, [t.track_id for t in state.tracks]) == (12, [2])
    assert state.tracks[0].roi == Box(201.25, 133.5, 398.75, 331.0, 0.1234)
    assert [t.person for t in (*state.tracks, *state.lost)] == [None, None]


def test_without_signals_the_state_is_written_as_the_version_before_reads_it() -> None:
    """While replicas are being replaced, older ones go on with such streams."""
    assert saved_state.to_bytes(saved_state.from_bytes(VERSION_2)) == VERSION_2


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xff\xfe", b"[]", b"{}", b'{"v": 2}', b'{"v": 2, "seq": "x", "size": []}'),
        *(FIELDS % (b"1e999", b""), b"[" * 100_000),  # found by fuzzing
        FIELDS % (b"1", b"[1,1,NaN,0,9,9,0,0,0,1,0]"),
        FIELDS % (b"1", b"[1,1,0,1e308,9,9,0,0,0,1,0]"),
        VERSION_2.replace(b"1,0]]", b"1,0,[[0.3,0.1,0.8,0.3],1,0.0,0,[1,1e999,0.1],[]]]]"),
        VERSION_2.replace(b"1,0]]", b"1,0,[]]]"),
        VERSION_2.replace(b"1,0]]", b"1,0,[[NaN,0.1,0.8,0.3],1,0.0,0,[],[]]]]"),
    ],
)
def test_damaged_states_are_an_error_and_not_a_crash(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        saved_state.from_bytes(data)


@given(st.lists(st.floats(-9e15, 9e15), min_size=4, max_size=4), st.integers(-9, 9))
def test_a_person_that_nobody_can_be_becomes_one_who_can(levels: list[float], frames: int) -> None:
    """What is stored is only checked as far as the next frames need it."""
    stored = VERSION_2.replace(
        b"1,0]]", b"1,0,[%b,%d,0.0,0,[],[]]]]" % (str(levels).encode(), frames)
    )
    (track,) = saved_state.from_bytes(stored).tracks
    assert track.person is not None
    assert 0 < track.person.rest.closed_eye < track.person.rest.open_eye
    assert track.person.frames >= 0


def test_the_state_of_another_version_is_refused() -> None:
    fields = json.loads(saved_state.to_bytes(State()))
    fields["v"] = 99
    with pytest.raises(InvalidRequest, match="version 99"):
        saved_state.from_bytes(json.dumps(fields).encode())


@pytest.mark.parametrize("faces", [0, 1, 4, 20])
def test_a_state_is_as_small_as_the_documentation_says(faces: int) -> None:
    """With long numbers everywhere, and every face in the middle of a blink."""
    person = Person(
        Rest(0.31234, 0.12345, 0.81234, 0.31234),
        frames=1_234_567,
        at_s=1_800_000_000.123,
        blinks=12_345,
        closed=Closure(1_234_567, 1_800_000_000.123, 0.1234),
        last=Blink(1_234_567, 1_800_000_000.123, 0.123),
    )
    roi = Box(1201.25, 1133.55, 1398.75, 1331.05, -0.1234)
    track = Track(12345, roi, 1_234_567, 123, 3, -12.25, -10.75)
    bare = State(1_234_567, 1920, 1080, 12345, 1_234_567, 123, (track,) * faces)
    known = replace(bare, tracks=(replace(track, person=person),) * faces)
    assert len(saved_state.to_bytes(bare)) <= SESSION_BYTES + faces * FACE_BYTES
    with_persons = len(saved_state.to_bytes(known))
    assert with_persons <= SESSION_BYTES + faces * (FACE_BYTES + PERSON_BYTES)
    assert with_persons > 0.7 * (SESSION_BYTES + faces * (FACE_BYTES + PERSON_BYTES))

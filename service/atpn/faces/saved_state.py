"""How a stream's state is written for the session store: versioned JSON, the same for all replicas.

Version 2 knows regions and ids; version 3, which is written only where signals were asked for, also
what was learnt of the persons, and what their frames are timed by. So a replica that knows version
2 alone goes on with all others.
"""

import json
from typing import Any

from atpn.errors import InvalidRequest
from atpn.faces.person import Blink, Closure, Person, plausible
from atpn.faces.signals import Rest
from atpn.faces.tracking import State, Track
from atpn.geometry import Box

VERSION, WITHOUT_PERSONS = 3, 2
LARGEST = 2.0**53  # number of a state that is read: every whole number up to it is a float
Packed = list[Any]


def to_bytes(state: State) -> bytes:
    """A state as it is stored: at most 110 bytes, 90 a face, and 150 more with its person."""
    persons = any(track.person for track in (*state.tracks, *state.lost))
    fields = {
        "v": VERSION if persons else WITHOUT_PERSONS,
        "seq": state.seq,
        "size": [state.width, state.height],
        "next": state.next_id,
        "detected": state.detected,
        "vain": state.vain,
        "tracks": [_packed(t) for t in state.tracks],
        "lost": [_packed(t) for t in state.lost],
    }
    if persons:
        fields["fps"] = state.fps
    return json.dumps(fields, separators=(",", ":")).encode()


def from_bytes(data: bytes) -> State:
    """Inverse of `to_bytes`; InvalidRequest for another version or damaged data."""
    try:
        fields = json.loads(data)
        if fields["v"] not in {VERSION, WITHOUT_PERSONS}:
            raise InvalidRequest(f"session state of version {fields['v']}, not {VERSION}")
        return State(
            seq=int(_number(fields["seq"])),
            width=int(_number(fields["size"][0])),
            height=int(_number(fields["size"][1])),
            next_id=int(_number(fields["next"])),
            detected=int(_number(fields["detected"])),
            vain=int(_number(fields["vain"])),
            tracks=tuple(_unpacked(t) for t in fields["tracks"]),
            lost=tuple(_unpacked(t) for t in fields["lost"]),
            fps=None if fields.get("fps") is None else _number(fields["fps"]),
        )
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise InvalidRequest(f"session state cannot be read: {error}") from error


def _number(value: float) -> float:
    """A number that can be reckoned with; ValueError for NaN and what is beyond LARGEST."""
    if not abs(value) <= LARGEST:
        raise ValueError(f"{value} is no number of a session")
    return float(value)


def _packed(track: Track) -> Packed:
    b = track.roi
    edges = (round(v, 2) for v in (b.x0, b.y0, b.x1, b.y1))
    motion = (round(b.angle, 4), round(track.vx, 2), round(track.vy, 2))
    packed = [track.track_id, track.seen, *edges, *motion, track.generation, track.weak]
    return packed if track.person is None else [*packed, _packed_person(track.person)]


def _unpacked(values: Packed) -> Track:
    numbers, person = values[:11], values[11:]
    track_id, seen, x0, y0, x1, y1, angle, vx, vy, generation, weak = map(_number, numbers)
    return Track(
        track_id=int(track_id),
        roi=Box(x0, y0, x1, y1, angle),
        seen=int(seen),
        generation=int(generation),
        weak=int(weak),
        vx=vx,
        vy=vy,
        person=_unpacked_person(*person) if person else None,
    )


def _packed_person(person: Person) -> Packed:
    rest, closed, last = person.rest, person.closed, person.last
    levels = (rest.open_eye, rest.closed_eye, rest.mouth_width, rest.brows)
    return [
        [round(level, 5) for level in levels],
        person.frames,
        round(person.at_s, 3),
        person.blinks,
        [] if closed is None else [closed.seq, round(closed.at_s, 3), round(closed.low, 4)],
        [] if last is None else [last.seq, round(last.at_s, 3), round(last.length_s, 3)],
    ]


def _unpacked_person(values: Packed) -> Person:
    levels, frames, at_s, blinks, closed, last = values
    open_eye, closed_eye, mouth_width, brows = map(_number, levels)
    return Person(
        rest=plausible(Rest(open_eye, closed_eye, mouth_width, brows)),
        frames=max(0, int(_number(frames))),
        at_s=_number(at_s),
        blinks=int(_number(blinks)),
        closed=Closure(*_event(*closed)) if closed else None,
        last=Blink(*_event(*last)) if last else None,
    )


def _event(seq: float, at_s: float, value: float) -> tuple[int, float, float]:
    return int(_number(seq)), _number(at_s), _number(value)

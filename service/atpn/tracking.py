"""The tracking of a stream's faces from frame to frame: pure functions on frozen states.

Section 3.4 of the paper: a face whose confidence is at least the threshold (0.7) gives the next
frame's ROI by its landmarks; below it the face is lost, and a detector looks for it again.
"""

import json
from dataclasses import dataclass, replace

from atpn.errors import InvalidRequest
from atpn.geometry import Box

VERSION = 1  # of the serialised state

SAME_FACE_IOU = 0.5  # two ROIs that overlap more show one face
RETURNING_IOU = 0.2  # a detection that overlaps a lost face's last ROI more is that face
FORGET_AFTER = 90  # frames until a lost face's id is given up


@dataclass(frozen=True)
class Rules:
    """What a stream is tracked by."""

    max_faces: int = 4
    threshold: float = 0.7
    redetect_every: int = 30


@dataclass(frozen=True)
class Track:
    """One face: its id for the whole session and where the next frame shows it."""

    track_id: int
    roi: Box
    seen: int  # seq of the last frame that showed it


@dataclass(frozen=True)
class State:
    """A stream's memory after frame ``seq`` of ``width`` x ``height`` pixels."""

    seq: int = 0
    width: int = 0
    height: int = 0
    next_id: int = 1
    detected: int = 0  # seq of the last frame that the detector saw
    tracks: tuple[Track, ...] = ()
    lost: tuple[Track, ...] = ()


@dataclass(frozen=True)
class Sighting:
    """What the network says of one ROI: its confidence and the ROI its landmarks lead to."""

    confidence: float
    next_roi: Box


def resized(state: State, width: int, height: int) -> State:
    """The state in pixels of a frame of another size (a stream may change resolution)."""
    if (state.width, state.height) == (width, height):
        return state
    sx = width / state.width if state.width else 1.0
    sy = height / state.height if state.height else 1.0

    def scaled(track: Track) -> Track:
        b = track.roi
        return replace(track, roi=Box(b.x0 * sx, b.y0 * sy, b.x1 * sx, b.y1 * sy))

    return replace(
        state,
        width=width,
        height=height,
        tracks=tuple(scaled(t) for t in state.tracks),
        lost=tuple(scaled(t) for t in state.lost),
    )


def follow(state: State, seq: int, sightings: list[Sighting], rules: Rules) -> State:
    """Frame ``seq`` seen through the ROIs of ``state.tracks``: keep, move or lose each.

    ``sightings`` belong to ``state.tracks`` in order. Of two tracks that ran onto one face the
    older (lower id) stays; the other is given up for good.
    """
    kept: list[Track] = []
    lost = [t for t in state.lost if seq - t.seen <= FORGET_AFTER]
    for track, sighting in zip(state.tracks, sightings, strict=True):
        moved = replace(track, roi=sighting.next_roi, seen=seq)
        if sighting.confidence < rules.threshold:
            lost.append(track)
        elif all(moved.roi.iou(other.roi) <= SAME_FACE_IOU for other in kept):
            kept.append(moved)
    return replace(state, seq=seq, tracks=tuple(kept), lost=tuple(lost))


def wants_detection(before: State, after: State, rules: Rules) -> bool:
    """Whether the detector should look at this frame: none found, one lost, or time to look."""
    if not after.tracks or len(after.tracks) < len(before.tracks):
        return True
    room = len(after.tracks) < rules.max_faces
    return room and after.seq - after.detected >= rules.redetect_every


def unclaimed(state: State, candidates: list[Box], rules: Rules) -> list[Box]:
    """The ROIs of detections that show no tracked face yet, at most as many as there is room."""
    fresh: list[Box] = []
    for roi in candidates:
        known = [t.roi for t in state.tracks] + fresh
        if all(roi.iou(other) <= SAME_FACE_IOU for other in known):
            fresh.append(roi)
    return fresh[: max(0, rules.max_faces - len(state.tracks))]


def admit(state: State, rois: list[Box], sightings: list[Sighting], rules: Rules) -> State:
    """Detected ROIs become tracks where the network sees a face in them.

    A face that shows up where one was lost gets its id back; others get new ids.
    ``sightings`` belong to ``rois`` in order.
    """
    tracks, lost, next_id = list(state.tracks), list(state.lost), state.next_id
    for roi, sighting in zip(rois, sightings, strict=True):
        if sighting.confidence < rules.threshold:
            continue
        if any(sighting.next_roi.iou(t.roi) > SAME_FACE_IOU for t in tracks):
            continue
        returning = max(lost, key=lambda t: t.roi.iou(roi), default=None)
        if returning is not None and returning.roi.iou(roi) > RETURNING_IOU:
            lost.remove(returning)
            track_id = returning.track_id
        else:
            track_id, next_id = next_id, next_id + 1
        tracks.append(Track(track_id, sighting.next_roi, state.seq))
    return replace(
        state, tracks=tuple(tracks), lost=tuple(lost), next_id=next_id, detected=state.seq
    )


def to_bytes(state: State) -> bytes:
    """Serialise for the session store: a few hundred bytes of versioned JSON."""

    def packed(track: Track) -> list[float]:
        b = track.roi
        edges = (round(v, 2) for v in (b.x0, b.y0, b.x1, b.y1))
        return [track.track_id, track.seen, *edges]

    fields = {
        "v": VERSION,
        "seq": state.seq,
        "size": [state.width, state.height],
        "next": state.next_id,
        "detected": state.detected,
        "tracks": [packed(t) for t in state.tracks],
        "lost": [packed(t) for t in state.lost],
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def from_bytes(data: bytes) -> State:
    """Inverse of `to_bytes`; InvalidRequest for another version or damaged data."""

    def unpacked(values: list[float]) -> Track:
        return Track(int(values[0]), Box(*map(float, values[2:6])), int(values[1]))

    try:
        fields = json.loads(data)
        if fields["v"] != VERSION:
            raise InvalidRequest(f"session state of version {fields['v']}, not {VERSION}")
        return State(
            seq=int(fields["seq"]),
            width=int(fields["size"][0]),
            height=int(fields["size"][1]),
            next_id=int(fields["next"]),
            detected=int(fields["detected"]),
            tracks=tuple(unpacked(t) for t in fields["tracks"]),
            lost=tuple(unpacked(t) for t in fields["lost"]),
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InvalidRequest(f"session state cannot be read: {error}") from error

"""The tracking of a stream's faces from frame to frame: pure functions on frozen states.

Section 3.4 of the paper: a face whose confidence is at least the threshold (0.7) gives the next
frame's ROI by its landmarks; below it the face is lost, and a detector looks for it again.
Ours: a face that was sure may be unsure for a few frames; before the detector is asked, a lost
face is looked for in other ROIs around the last; and the detector rests while it finds nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atpn.faces.person import Person
from atpn.geometry import Box, square, squared

WEAK_FRAMES = 5  # a face may be unsure for so many frames in a row
REST_AFTER = 3  # searches in vain until the detector begins to rest
LONGEST_REST = 16  # frames
SEARCHED_FOR, SEARCH_EVERY = 30, 5  # frames after a loss while other faces are tracked
LARGER, TURNED = 1.5, 0.6  # the retry ladder: of the ROI's side; radians
SAME_FACE_IOU = 0.5  # two ROIs that overlap more show one face
RETURNING = 1.0  # a detection nearer (in ROI sides) to where a lost face should be is that face
FORGET_AFTER = 90  # frames until a lost face's id is given up


@dataclass(frozen=True)
class Rules:
    """What a stream is tracked by."""

    max_faces: int = 4
    threshold: float = 0.7
    keep_threshold: float = 0.5  # for WEAK_FRAMES; above ``threshold`` it counts as that
    redetect_every: int = 30


@dataclass(frozen=True)
class Track:
    """One face: its id for the whole session and where the next frame shows it."""

    track_id: int
    roi: Box
    seen: int  # seq of the last frame that showed it
    generation: int = 1  # how often it was found
    weak: int = 0  # frames in a row below the threshold
    vx: float = 0.0  # smoothed motion of the ROI's centre, pixels a frame
    vy: float = 0.0
    person: Person | None = None  # what was learnt of whose face it is; where signals are asked for

    def expected(self, seq: int) -> NDArray[np.float64]:
        """Where frame ``seq`` should show the centre: (x, y); motion fades in a few frames."""
        frames = min(seq - self.seen, 10)
        motion: NDArray[np.float64] = np.array([self.vx, self.vy]) * frames
        return self.roi.centre + motion

    def moved(self, roi: Box, seq: int, weak: int) -> "Track":
        """The track after frame ``seq`` showed it at ``roi``."""
        vx, vy = (roi.centre - self.roi.centre) / max(1, seq - self.seen)
        return replace(
            self,
            roi=roi,
            seen=seq,
            weak=weak,
            vx=0.5 * (self.vx + float(vx)),
            vy=0.5 * (self.vy + float(vy)),
        )


@dataclass(frozen=True)
class State:
    """A stream's memory after frame ``seq`` of ``width`` x ``height`` pixels."""

    seq: int = 0
    width: int = 0
    height: int = 0
    next_id: int = 1
    detected: int = 0  # seq of the last frame that the detector saw
    vain: int = 0  # searches in a row that found nothing
    tracks: tuple[Track, ...] = ()
    lost: tuple[Track, ...] = ()
    fps: float | None = None  # of the recording that persons are timed by; None: a clock


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
        moved = squared(Box(b.x0 * sx, b.y0 * sy, b.x1 * sx, b.y1 * sy))  # as crops are
        roi = replace(moved, angle=b.angle)
        return replace(track, roi=roi, vx=track.vx * sx, vy=track.vy * sy)

    return replace(
        state,
        width=width,
        height=height,
        tracks=tuple(scaled(t) for t in state.tracks),
        lost=tuple(scaled(t) for t in state.lost),
    )


def limited(state: State, rules: Rules) -> State:
    """No more tracks than the rules allow; the others are lost, and may return with their ids."""
    most = rules.max_faces
    if len(state.tracks) <= most:
        return state
    return replace(state, tracks=state.tracks[:most], lost=state.lost + state.tracks[most:])


def follow(state: State, seq: int, sightings: list[Sighting], rules: Rules) -> State:
    """Frame ``seq`` seen through the ROIs of ``state.tracks``: keep, move or lose each.

    ``sightings`` belong to ``state.tracks`` in order. Of two tracks that ran onto one face the
    one stays that was expected there; the other is lost, and expected where its motion leads.
    """
    keep_threshold = min(rules.keep_threshold, rules.threshold)
    kept: list[tuple[Track, Track]] = []  # before and after
    lost = [t for t in state.lost if seq - t.seen <= FORGET_AFTER]
    for track, sighting in zip(state.tracks, sightings, strict=True):
        weak = 0 if sighting.confidence >= rules.threshold else track.weak + 1
        if weak and (sighting.confidence < keep_threshold or weak > WEAK_FRAMES):
            lost.append(track)
            continue
        pair = (track, track.moved(sighting.next_roi, seq, weak))
        rival = next((p for p in kept if p[1].roi.iou(pair[1].roi) > SAME_FACE_IOU), None)
        if rival is None:
            kept.append(pair)
        elif _surprise(*rival) <= _surprise(*pair):
            lost.append(track)
        else:
            kept[kept.index(rival)] = pair
            lost.append(rival[0])
    return replace(state, seq=seq, tracks=tuple(after for _, after in kept), lost=tuple(lost))


def _surprise(before: Track, after: Track) -> float:
    """Pixels between where a face was expected and where it was seen."""
    return float(np.linalg.norm(after.roi.centre - before.expected(after.seen)))


def missing(before: State, after: State) -> list[Track]:
    """The tracks of ``before`` that ``after`` has no more."""
    there = {t.track_id for t in after.tracks}
    return [t for t in before.tracks if t.track_id not in there]


def ladder(track: Track) -> list[Box]:
    """ROIs in which to look for a face that the last one no longer shows."""
    roi = track.roi
    side = roi.width
    cx, cy = roi.centre
    wide = replace(square(float(cx), float(cy), side * LARGER), angle=roi.angle)
    turned = [replace(roi, angle=roi.angle + turn) for turn in (-TURNED, TURNED)]
    return [wide, *turned]


def recover(state: State, track: Track, tries: list[Sighting], rules: Rules) -> tuple[State, int]:
    """Take up a track that was lost in this very frame, if a rung of its `ladder` shows it.

    ``tries`` belong to the rungs in order. Answers the state and the rung's number, or -1.
    """
    best = max(range(len(tries)), key=lambda i: tries[i].confidence)
    found = tries[best]
    others = (t.roi.iou(found.next_roi) <= SAME_FACE_IOU for t in state.tracks)
    if found.confidence < rules.threshold or not all(others):
        return state, -1
    tracks = (*state.tracks, track.moved(found.next_roi, state.seq, 0))
    lost = tuple(t for t in state.lost if t.track_id != track.track_id)
    return replace(state, tracks=tracks, lost=lost), best


def wants_detection(before: State, after: State, rules: Rules) -> bool:
    """Whether the detector should look at this frame: a face was lost, none is there, or it is
    time to look for more. While it finds nothing it rests for longer and longer.
    """
    since = after.seq - after.detected
    if len(after.tracks) < len(before.tracks):
        return True
    if not after.tracks:
        rest = 1 << min(max(0, after.vain - REST_AFTER), LONGEST_REST.bit_length())
        return since >= min(rest, LONGEST_REST)
    missed = any(after.seq - t.seen <= SEARCHED_FOR for t in after.lost)
    every = min(rules.redetect_every, SEARCH_EVERY) if missed else rules.redetect_every
    return len(after.tracks) < rules.max_faces and since >= every


def unclaimed(state: State, candidates: list[Box], rules: Rules) -> list[Box]:
    """The ROIs of detections that show no tracked face yet, at most as many as there is room."""
    fresh: list[Box] = []
    for roi in candidates:
        if is_new(roi, state, fresh):
            fresh.append(roi)
    return fresh[: max(0, rules.max_faces - len(state.tracks))]


def is_new(roi: Box, state: State, fresh: list[Box]) -> bool:
    """Whether a ROI shows neither a tracked face nor one of the ``fresh`` ones."""
    known = [t.roi for t in state.tracks] + fresh
    return all(roi.iou(other) <= SAME_FACE_IOU for other in known)


def admit(state: State, rois: list[Box], sightings: list[Sighting], rules: Rules) -> State:
    """Detected ROIs become tracks where the network sees a face in them.

    A face that shows up where one was lost gets its id back; others get new ids.
    ``sightings`` belong to ``rois`` in order.
    """
    fresh: list[tuple[Box, Box]] = []  # where it was detected, and where it is followed
    for roi, sighting in zip(rois, sightings, strict=True):
        sure = sighting.confidence >= rules.threshold
        if sure and is_new(sighting.next_roi, state, [next_roi for _, next_roi in fresh]):
            fresh.append((roi, sighting.next_roi))
    tracks, lost, next_id = list(state.tracks), list(state.lost), state.next_id
    for (_, next_roi), back in zip(fresh, returned(state, [roi for roi, _ in fresh]), strict=True):
        if back is None:
            tracks.append(Track(next_id, next_roi, state.seq))
            next_id += 1
        else:
            lost.remove(back)
            generation = back.generation + 1
            tracks.append(Track(back.track_id, next_roi, state.seq, generation, person=back.person))
    vain = state.vain + 1 if not tracks else 0
    return replace(
        state,
        tracks=tuple(tracks),
        lost=tuple(lost),
        next_id=next_id,
        detected=state.seq,
        vain=vain,
    )


def returned(state: State, rois: list[Box]) -> list[Track | None]:
    """Which lost face each detected ROI shows: as many as can be, and those that are nearest.

    All are looked at together: of two people who moved alike, one may stand where the other was.
    """
    if not state.lost or not rois:
        return [None] * len(rois)
    apart = 1e3  # outweighs all distances
    distances = [[_distance(track, roi, state.seq) for track in state.lost] for roi in rois]
    costs = np.full((len(rois), len(state.lost) + len(rois)), apart)  # a column of nobody for each
    known = np.array(distances)
    costs[:, : len(state.lost)] = np.where(known < RETURNING, known, 2 * apart)
    columns = assigned(costs)
    return [state.lost[column] if column < len(state.lost) else None for column in columns]


def assigned(costs: NDArray[np.float64]) -> list[int]:
    """A column of its own for each row of ``costs`` (N, M >= N), of the least sum.

    The Hungarian method by shortest augmenting paths (Jonker and Volgenant, 1987).
    """
    rows, columns = np.zeros(costs.shape[0]), np.zeros(costs.shape[1])  # dual variables
    owner = np.full(len(columns), -1)  # the row of each column
    for row in range(len(rows)):
        slack, before = np.full(len(columns), np.inf), np.full(len(columns), -1)
        reached = np.zeros(len(columns), bool)
        column, here = -1, row
        while here >= 0:
            reduced = costs[here] - rows[here] - columns
            nearer = ~reached & (reduced < slack)
            slack[nearer], before[nearer] = reduced[nearer], column
            column = int(np.argmin(np.where(reached, np.inf, slack)))
            step = slack[column]
            rows[[row, *owner[reached]]] += step
            columns[reached] -= step
            slack[~reached] -= step
            reached[column] = True
            here = int(owner[column])
        while column >= 0:
            prior = int(before[column])
            owner[column] = row if prior < 0 else owner[prior]
            column = prior
    return [int(np.flatnonzero(owner == row)[0]) for row in range(len(rows))]


def _distance(track: Track, roi: Box, seq: int) -> float:
    """From where a lost face is expected to a ROI, in sides of the larger of the two."""
    side = max(track.roi.width, roi.width, 1e-6)
    return float(np.linalg.norm(track.expected(seq) - roi.centre)) / side

"""One frame of a stream, told once: in which order tracked faces are followed and new ones found.

The decisions are `tracking`'s; this is their order. It knows neither pixels nor the clock: the
service's streams, the command line and training's measures all drive these steps.
"""

from dataclasses import dataclass, field, replace
from itertools import chain, islice

from atpn.faces import tracking
from atpn.faces.face import Face
from atpn.faces.looking import Steps, detect, look
from atpn.faces.person import Person, met
from atpn.faces.signals import Signals, measured, signals_of
from atpn.faces.tracking import Rules, Sighting, State, Track
from atpn.geometry import Box


@dataclass(frozen=True)
class Followed:
    """What a frame showed, and the stream's memory after it."""

    state: State
    faces: dict[int, Face]  # by track id, one for each track of the state
    newcomers: frozenset[int]  # the ids among them that the detector found
    recovered: int  # tracks taken up again in another ROI than their last one
    given_up: int  # tracks that the frame ended
    found: int | None  # by the detector; None where it was not asked
    signals: dict[int, Signals] = field(default_factory=dict)  # by track id, where asked for

    @property
    def shown(self) -> list[tuple[Track, Face]]:
        """Each track with its face."""
        return [(track, self.faces[track.track_id]) for track in self.state.tracks]


def follow_frame(state: State, width: int, height: int, rules: Rules) -> Steps[Followed]:
    """Follow the tracks of ``state``, whose seq is this frame's, in a frame of that size."""
    before = tracking.limited(tracking.resized(state, width, height), rules)
    seen = yield from look([track.roi for track in before.tracks])
    state = tracking.follow(before, before.seq, sightings(seen), rules)
    faces = {t.track_id: face for t, face in zip(before.tracks, seen, strict=True)}
    state, recovered = yield from _recover(state, tracking.missing(before, state), rules)
    given_up = len(tracking.missing(before, state))
    newcomers: dict[int, Face] = {}
    found = None
    if tracking.wants_detection(before, state, rules):
        candidates = yield from detect(small=bool(state.tracks))  # beside those that are known
        found = len(candidates)
        state, newcomers = yield from _admit(state, candidates, rules)
    faces |= recovered | newcomers
    return Followed(
        state=state,
        faces={track.track_id: faces[track.track_id] for track in state.tracks},
        newcomers=frozenset(newcomers),
        recovered=len(recovered),
        given_up=given_up,
        found=found,
    )


def observed(followed: Followed, at_s: float) -> Followed:
    """The frame, seen at ``at_s``, with the signals of its faces and what it tells of the persons.

    Signals are those beside the person's own face at rest, as it is known so far.
    """
    signals, tracks = {}, []
    for track, face in followed.shown:
        ratios = measured(face.landmarks, face.rotation)
        person = met(track.person or Person(), ratios, followed.state.seq, at_s)
        signals[track.track_id] = signals_of(ratios, person.rest)
        tracks.append(replace(track, person=person))
    state = replace(followed.state, tracks=tuple(tracks))
    return replace(followed, state=state, signals=signals)


def _recover(state: State, lost: list[Track], rules: Rules) -> Steps[tuple[State, dict[int, Face]]]:
    """Look for tracks that the frame's own ROIs do not show in the ROIs of their ladders."""
    ladders = [tracking.ladder(track) for track in lost]
    seen = iter((yield from look(list(chain(*ladders)))))
    recovered = {}
    for track, rungs in zip(lost, ladders, strict=True):
        faces = list(islice(seen, len(rungs)))
        state, rung = tracking.recover(state, track, sightings(faces), rules)
        if rung >= 0:
            recovered[track.track_id] = faces[rung]
    return state, recovered


def _admit(
    state: State, candidates: list[Box], rules: Rules
) -> Steps[tuple[State, dict[int, Face]]]:
    """Detected faces that no track shows yet become tracks; answers their faces by track id."""
    rois = tracking.unclaimed(state, candidates, rules)
    seen = yield from look(rois)
    after = tracking.admit(state, rois, sightings(seen), rules)
    by_roi = {face.next_roi: face for face in seen}
    return after, {t.track_id: by_roi[t.roi] for t in tracking.missing(after, state)}


def sightings(faces: list[Face]) -> list[Sighting]:
    """What tracking needs to know of faces."""
    return [Sighting(face.confidence, face.next_roi) for face in faces]

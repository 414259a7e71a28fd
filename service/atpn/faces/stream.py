"""One tracked stream: encoded frames in, answers out, whatever carries them.

Knows the order of things in a frame (decode, follow, re-detect, answer, save), but neither
sockets nor HTTP; `track` moves the bytes and `tracking` decides what is the same face.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from atpn.core import Core
from atpn.engine.batching import Priority
from atpn.errors import AtpnError, StaleWrite, StoreUnavailable
from atpn.faces import tracking
from atpn.faces.images import Picture
from atpn.faces.pipeline import Aligned, Face, Prepared, Timings
from atpn.faces.tracking import Rules, Sighting, State, Track
from atpn.geometry import Box
from atpn.sessions import Saved, key_of
from atpn.settings import Settings

log = logging.getLogger("atpn.stream")


@dataclass(frozen=True)
class FrameResult:
    """What is answered about one frame."""

    seq: int
    state: str  # detected, tracked, resumed, lost
    faces: list[tuple[Track, Face]]
    width: int
    height: int
    decode_s: float
    detect_s: float
    aligned: Aligned


def sightings(faces: list[Face]) -> list[Sighting]:
    """What tracking needs to know of faces."""
    return [Sighting(face.confidence, face.next_roi) for face in faces]


def rules_of(
    settings: Settings, max_faces: int | None = None, min_confidence: float | None = None
) -> Rules:
    """What a stream is tracked by: the settings, and what its client asks for within them."""
    most = settings.track_max_faces
    threshold = settings.track_threshold if min_confidence is None else min_confidence
    keep = settings.track_keep_threshold
    return Rules(min(max_faces or most, most), threshold, keep, settings.redetect_every)


class Stream:
    """Tracks the faces of one session and keeps its state in the store."""

    def __init__(self, core: Core, token: str | None, rules: Rules) -> None:
        self._core = core
        self.rules = rules
        self.token = token or core.tokens.new()
        self.began = "new"  # or resumed, expired
        self._asked = token is not None
        self._state = State()
        self._resumed = False
        self._saving: asyncio.Task[None] | None = None
        self._unsaved: State | None = None
        self._last: State | None = None  # after the last frame

    @property
    def session_id(self) -> str:
        """A public name of the session, for logs; the token cannot be found from it."""
        return key_of(self.token)[:16]

    @property
    def _ids(self) -> dict[str, str]:
        return {"session_id": self.session_id}

    @property
    def seq(self) -> int:
        """The sequence number of the newest frame."""
        return self._state.seq

    async def open(self) -> None:
        """Take up the stored state of the token; an unknown, forged or expired one starts afresh.

        A fresh session never uses the token that the client sent: it gets one of its own.
        """
        if self._asked and self._core.tokens.accepts(self.token):
            await self._resume()
        elif self._asked:
            self._start_afresh()
        self._core.metrics.resumes.labels(self.began).inc()

    async def _resume(self) -> None:
        saved = None
        try:
            saved = await self._core.store.load(key_of(self.token))
            state = None if saved is None else tracking.from_bytes(saved.data)
        except StoreUnavailable as error:
            self._store_failed("load", error)
            state = None
        except AtpnError as error:  # written by another version
            log.warning("session cannot be read: %s", error.detail, extra=self._ids)
            state = None
        if state is None:
            self._start_afresh()
            return
        self.began, self._state, self._resumed = "resumed", state, bool(state.tracks)
        self._last = state

    def _start_afresh(self) -> None:
        self.began, self.token = "expired", self._core.tokens.new()

    def reset(self) -> None:
        """Forget all faces, not the ids that were given out; between frames only."""
        self._state = replace(self._state, tracks=(), lost=())
        self._resumed = False

    async def frame(self, data: bytes, skipped: int) -> FrameResult:
        """Track one encoded frame; ``skipped`` frames before it were replaced by it.

        Raises what decoding and the batcher raise; the state is then as before the frame, but
        for its number.
        """
        self._state = replace(self._state, seq=self._state.seq + skipped + 1)
        try:
            return await self._follow(data)
        except Exception:  # its number is used up
            self._save(self._state)
            raise

    async def _follow(self, data: bytes) -> FrameResult:
        """Track one encoded frame, whose number the state has already."""
        core, seq = self._core, self._state.seq
        deadline = time.monotonic() + core.settings.request_timeout_s
        prepared = await core.aligner.prepare(data, self._rois)
        core.metrics.decode_seconds.observe(prepared.decode_s)
        picture = prepared.picture
        before = tracking.resized(self._state, picture.width, picture.height)
        aligned = await self._align(prepared, deadline)
        state = tracking.follow(before, seq, sightings(aligned.faces), self.rules)
        faces = {t.track_id: f for t, f in zip(before.tracks, aligned.faces, strict=True)}
        timings, detect_s = aligned.timings, 0.0
        lost = tracking.missing(before, state)
        if lost:
            state, found_again, more = await self._retry(picture, state, lost, deadline)
            faces, timings = faces | found_again, timings + more
        core.metrics.lost_tracks.inc(len(tracking.missing(before, state)))
        word = "resumed" if self._resumed and state.tracks else "tracked"
        if tracking.wants_detection(before, state, self.rules):
            again, found = await self._detect(picture, state, deadline)
            after = tracking.admit(state, again.rois, sightings(found.faces), self.rules)
            newcomers = newly(state, after, found.faces)
            if newcomers:
                word = "detected"
            state, faces = after, faces | newcomers
            detect_s, timings = again.find_s, timings + found.timings
        self._resumed = False
        self._state = state
        self._save(state)
        shown = [(t, faces[t.track_id]) for t in state.tracks]
        return FrameResult(
            seq=seq,
            state=word if shown else "lost",
            faces=shown,
            width=picture.width,
            height=picture.height,
            decode_s=prepared.decode_s,
            detect_s=detect_s,
            aligned=Aligned([f for _, f in shown], timings),
        )

    async def _align(self, prepared: Prepared, deadline: float) -> Aligned:
        left_s = max(0.0, deadline - time.monotonic())
        return await self._core.aligner.align(prepared, left_s, Priority.LIVE)

    async def _retry(
        self, picture: Picture, state: State, lost: Sequence[Track], deadline: float
    ) -> tuple[State, dict[int, Face], Timings]:
        """Look for tracks that this frame's ROIs do not show in the ROIs of their ladders."""
        ladders = [tracking.ladder(track) for track in lost]
        prepared = await self._core.aligner.look_again(picture, list(chain(*ladders)))
        aligned = await self._align(prepared, deadline)
        seen, again = iter(aligned.faces), {}
        for track, rungs in zip(lost, ladders, strict=True):
            faces = list(islice(seen, len(rungs)))
            state, rung = tracking.recover(state, track, sightings(faces), self.rules)
            self._core.metrics.retries.labels("found" if rung >= 0 else "lost").inc()
            if rung >= 0:
                again[track.track_id] = faces[rung]
        return state, again, aligned.timings

    def _rois(self, width: int, height: int) -> list[Box]:
        return [t.roi for t in tracking.resized(self._state, width, height).tracks]

    async def _detect(
        self, picture: Picture, state: State, deadline: float
    ) -> tuple[Prepared, Aligned]:
        core = self._core
        prepared = await core.aligner.search_again(
            picture, lambda rois: tracking.unclaimed(state, rois, self.rules)
        )
        core.metrics.detected("/track", prepared.find_s)
        return prepared, await self._align(prepared, deadline)

    def _save(self, state: State) -> None:
        """Write to the store after the answer; states that come meanwhile replace each other."""
        self._unsaved = self._last = state
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._write(), name="save")

    async def _write(self) -> None:
        while self._unsaved is not None:
            state, self._unsaved = self._unsaved, None
            try:
                data = tracking.to_bytes(state)
                await self._core.store.save(key_of(self.token), Saved(state.seq, data))
            except StaleWrite:
                self._core.metrics.stale_writes.inc()
            except StoreUnavailable as error:
                self._store_failed("save", error)

    def _store_failed(self, operation: str, error: StoreUnavailable) -> None:
        self._core.metrics.store_errors.labels(operation).inc()
        log.warning("store: %s failed: %s", operation, error, extra=self._ids)

    async def close(self) -> None:
        """Write the last state again: it may not have been, and its time begins with the end of
        the stream. Each try is bounded by the store's timeout; a second call writes nothing.
        """
        last, self._last = self._last, None
        if self._saving is not None:
            await self._saving
        if last is not None:
            self._unsaved = last
            await self._write()


def newly(before: State, after: State, found: list[Face]) -> dict[int, Face]:
    """The faces behind the tracks that ``after`` has and ``before`` has not, by track id."""
    by_roi = {face.next_roi: face for face in found}
    return {t.track_id: by_roi[t.roi] for t in tracking.missing(after, before)}

"""One tracked stream: encoded frames in, answers out, whatever carries them; its session is kept.

`frame` says what happens in a frame, `tracking` what is the same face, the WebSocket's module
moves the bytes. While the store is gone a stream goes on from its own memory.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from atpn.engine.lanes import Priority
from atpn.errors import AtpnError, StaleWrite, StoreUnavailable
from atpn.faces import saved_state
from atpn.faces.face import Face
from atpn.faces.frame import Followed, follow_frame, observed
from atpn.faces.looking import Steps
from atpn.faces.person import timeless
from atpn.faces.pipeline import Finished, Job, Pipeline, Timings
from atpn.faces.signals import Signals
from atpn.faces.tracking import Rules, State, Track
from atpn.sessions import Saved, Store, Tokens, key_of
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
    timings: Timings
    at_s: float = 0.0  # see `Timing`
    signals: dict[int, Signals] = field(default_factory=dict)  # by track id, where asked for


@dataclass(frozen=True)
class Timing:
    """When frames were seen, in seconds: as they come, or a recording's by their numbers."""

    fps: float | None = None
    clock: Callable[[], float] = time.time  # replicas have it in common

    def of(self, seq: int) -> float:
        """Of frame ``seq``, which is there now."""
        return self.clock() if self.fps is None else seq / self.fps


def timed_by(state: State, fps: float | None) -> State:
    """The state for frames that are timed so; what another clock timed is forgotten."""
    if state.fps == fps:
        return state
    tracks, lost = (
        tuple(replace(t, person=t.person and timeless(t.person)) for t in group)
        for group in (state.tracks, state.lost)
    )
    return replace(state, tracks=tracks, lost=lost, fps=fps)


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

    def __init__(
        self, pipeline: Pipeline, store: Store, tokens: Tokens, token: str | None, rules: Rules
    ) -> None:
        self._pipeline = pipeline
        self._metrics = pipeline.metrics
        self._store = store
        self._tokens = tokens
        self.rules = rules
        self.timing = Timing()  # of the next frame on
        self.signals = False  # whether they are asked for
        self.pose = True  # likewise
        self.token = token or tokens.new()
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
        if self._asked and self._tokens.accepts(self.token):
            await self._resume()
        elif self._asked:
            self._start_afresh()
        self._metrics.resumes.labels(self.began).inc()

    async def _resume(self) -> None:
        saved = None
        try:
            saved = await self._store.load(key_of(self.token))
            state = None if saved is None else saved_state.from_bytes(saved.data)
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
        self.began, self.token = "expired", self._tokens.new()

    def reset(self) -> None:
        """Forget all faces, not the ids that were given out; between frames only."""
        self._state = replace(self._state, tracks=(), lost=(), vain=0)
        self._resumed = False

    async def frame(self, data: bytes, skipped: int) -> FrameResult:
        """Track one encoded frame; ``skipped`` frames before it were replaced by it.

        Raises what decoding and the batcher raise; the state is then as before the frame, but
        for its number.
        """
        state = timed_by(self._state, self.timing.fps)
        self._state = replace(state, seq=state.seq + skipped + 1)
        try:
            return await self._follow(data)
        except Exception:  # its number is used up
            self._save(self._state)
            raise

    async def _follow(self, data: bytes) -> FrameResult:
        """Track one encoded frame, whose number the state has already."""
        before, rules = self._state, self.rules
        signals, at_s = self.signals, self.timing.of(before.seq)

        def steps(width: int, height: int) -> Steps[Followed]:
            followed = yield from follow_frame(before, width, height, rules)
            return observed(followed, at_s) if signals else followed

        job = Job(data, steps, max(1, len(before.tracks)), pose=self.pose or signals)
        timeout_s = self._pipeline.settings.request_timeout_s
        done = await self._pipeline.do(job, timeout_s, Priority.LIVE)
        self._count(done)
        followed, image = done.value, done.image
        word = "resumed" if self._resumed else "tracked"
        if followed.newcomers:
            word = "detected"
        self._resumed = False
        self._state = followed.state
        self._save(followed.state)
        return FrameResult(
            seq=before.seq,
            state=word if followed.state.tracks else "lost",
            faces=followed.shown,
            width=image.width,
            height=image.height,
            timings=done.timings,
            at_s=at_s,
            signals=followed.signals,
        )

    def _count(self, done: Finished[Followed]) -> None:
        followed, metrics = done.value, self._metrics
        metrics.looked_at("/track", done.image.decode_s, done.image.detect_s)
        metrics.lost_tracks.inc(followed.given_up)
        metrics.retries.labels("found").inc(followed.recovered)
        metrics.retries.labels("lost").inc(followed.given_up)

    def _save(self, state: State) -> None:
        """Write to the store after the answer; states that come meanwhile replace each other."""
        self._unsaved = self._last = state
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._write(), name="save")

    async def _write(self) -> None:
        while self._unsaved is not None:
            state, self._unsaved = self._unsaved, None
            try:
                data = saved_state.to_bytes(state)
                await self._store.save(key_of(self.token), Saved(state.seq, data))
            except StaleWrite:
                self._metrics.stale_writes.inc()
            except StoreUnavailable as error:
                self._store_failed("save", error)

    def _store_failed(self, operation: str, error: StoreUnavailable) -> None:
        self._metrics.store_errors.labels(operation).inc()
        log.warning("store: %s failed: %s", operation, error, extra=self._ids)

    async def close(self) -> None:
        """Write the last state again: it may not have been, and its time begins with the end of
        the stream. Each try is bounded by the store's timeout; a second call writes nothing, but
        waits for the first one's where that was cancelled.
        """
        if self._last is not None:
            self._save(self._last)
            self._last = None
        if self._saving is not None:
            await asyncio.shield(self._saving)

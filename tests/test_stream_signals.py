"""Blinks of a live stream: counted, told with their times, and still known on another replica."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from atpn.api.answers import View, frame_payload
from atpn.client.results import Face
from atpn.faces import saved_state
from atpn.faces.stream import Stream, Timing, rules_of
from atpn.sessions import MemoryStore, Tokens, key_of
from tests.conftest import FakeService, FakeServiceFactory
from tests.heads import Head, crop_of

OPEN, CLOSED = Head(), Head(left_eye=3, right_eye=3)


def show(service: FakeService, head: Head) -> None:
    """From now on the service's model sees that head, filling the region as tracked ones do."""
    service.network.face = crop_of(head)


class Watcher:
    """One stream after the other of a session, on any service, over one store."""

    def __init__(self, frame: bytes) -> None:
        self.store = MemoryStore(60, 10)
        self.stream: Stream | None = None
        self._frame = frame
        self._tokens = Tokens()

    async def connect(self, service: FakeService, timing: Timing | None = None) -> None:
        """Begin, or go on with the session on another service."""
        token = None
        if self.stream is not None:
            token = self.stream.token
            await self.stream.close()
        settings = service.core.settings
        self.stream = Stream(
            service.core.pipeline, self.store, self._tokens, token, rules_of(settings)
        )
        self.stream.signals = True
        self.stream.timing = timing or Timing(fps=25)
        await self.stream.open()

    async def see(self, service: FakeService, heads: Sequence[Head]) -> dict[str, Any]:
        """The answer's face in the last of the frames that show these heads."""
        assert self.stream is not None
        for head in heads:
            show(service, head)
            result = await self.stream.frame(self._frame, 0)
        (face,) = frame_payload(result, 0, View())["faces"]
        return dict(face)

    async def stored(self) -> bytes:
        """What the store has of the session."""
        assert self.stream is not None
        await self.stream.close()
        saved = await self.store.load(key_of(self.stream.token))
        assert saved is not None
        return saved.data


BLINK = [OPEN] * 10 + [CLOSED] * 4 + [OPEN] * 3


async def test_a_stream_counts_blinks_with_their_time_and_length(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service)
    face = await watcher.see(service, BLINK)
    assert face["signals"]["blinks"] == {
        "count": 1,
        "closed_s": 0.0,
        "last": {"seq": 11, "ago_s": 0.24, "length_s": 0.16},
    }
    face = await watcher.see(service, [CLOSED] * 6)
    signals = Face(face).signals
    assert signals.left_eye.open == pytest.approx(0, abs=0.05)
    assert (signals.blinks.count, signals.blinks.closed_s) == (1, 0.2)


async def test_frames_that_come_live_are_timed_by_the_clock(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    now = iter(np.arange(1_800_000_000, 1_800_000_100, 0.1).tolist())
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service, Timing(clock=lambda: next(now)))
    last = (await watcher.see(service, BLINK))["signals"]["blinks"]["last"]
    assert last == {"seq": 11, "ago_s": 0.6, "length_s": 0.4}


async def test_with_another_clock_no_blink_is_timed_by_the_one_before(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service)
    await watcher.see(service, [*BLINK, CLOSED])
    assert watcher.stream is not None
    watcher.stream.timing = Timing(clock=lambda: 1_800_000_000.0)
    blinks = (await watcher.see(service, [CLOSED]))["signals"]["blinks"]
    assert blinks == {"count": 1, "closed_s": 0.0, "last": None}


async def test_a_clock_that_changes_while_a_frame_is_in_work_is_that_of_the_next(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service, Timing(clock=lambda: 1_800_000_000.0))
    await watcher.see(service, BLINK)
    assert watcher.stream is not None
    service.network.gate.clear()
    before = len(service.network.batches)
    seeing = asyncio.create_task(watcher.see(service, [OPEN]))
    while len(service.network.batches) == before:
        await asyncio.sleep(0.005)
    watcher.stream.timing = Timing(fps=25)
    service.network.gate.set()
    await seeing
    blinks = (await watcher.see(service, [OPEN]))["signals"]["blinks"]
    assert blinks["last"] is None
    assert blinks["closed_s"] == 0


async def test_a_recordings_blink_goes_on_where_its_client_says_again_how_fast_it_is(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    """As the clients do: resume, then ``config``."""
    first, second = await fake_service(), await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(first)
    await watcher.see(first, [*BLINK, CLOSED, CLOSED])
    await watcher.connect(second, Timing())
    assert watcher.stream is not None
    watcher.stream.timing = Timing(fps=25)
    blinks = (await watcher.see(second, [CLOSED, OPEN]))["signals"]["blinks"]
    assert blinks["count"] == 2
    assert blinks["last"]["length_s"] == 0.12


async def test_a_recordings_blinks_are_not_timed_by_the_clock_of_who_resumes_it(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    first, second = await fake_service(), await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(first)
    await watcher.see(first, BLINK)
    await watcher.connect(second, Timing())
    blinks = (await watcher.see(second, [OPEN]))["signals"]["blinks"]
    assert blinks == {"count": 1, "closed_s": 0.0, "last": None}


async def test_another_replica_goes_on_with_the_blink_and_with_the_person(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    """The first is left in the middle of a blink."""
    first, second = await fake_service(), await fake_service()
    narrow = Head(left_eye=6.5, right_eye=6.5)
    shut = Head(left_eye=2.5, right_eye=2.5)
    watcher = Watcher(small_png)
    await watcher.connect(first)
    await watcher.see(first, [narrow] * 300 + [shut] * 2)
    await watcher.connect(second)
    assert watcher.stream is not None
    assert watcher.stream.began == "resumed"
    face = await watcher.see(second, [shut] * 2 + [narrow] * 2)
    assert face["signals"]["blinks"]["count"] == 1
    assert face["signals"]["blinks"]["last"]["length_s"] == 0.16
    assert face["signals"]["left_eye"]["open"] > 0.85
    stranger = Watcher(small_png)
    await stranger.connect(second)
    unknown = await stranger.see(second, [narrow])
    assert unknown["signals"]["left_eye"]["open"] < 0.65


async def test_a_session_of_the_version_before_is_resumed_and_counts_from_there(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service)
    assert watcher.stream is not None
    watcher.stream.signals = False
    face = await watcher.see(service, [OPEN] * 3)
    assert "signals" not in face
    assert (await watcher.stored()).startswith(b'{"v":2,')
    await watcher.connect(service)
    assert watcher.stream.began == "resumed"
    face = await watcher.see(service, BLINK)
    assert (face["track_id"], face["signals"]["blinks"]["count"]) == (1, 1)
    state = saved_state.from_bytes(await watcher.stored())
    assert state.tracks[0].person is not None


async def test_a_face_that_was_lost_for_a_moment_is_still_the_same_person(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service)
    await watcher.see(service, BLINK)
    assert watcher.stream is not None
    service.network.confidence = 0.1
    for _ in range(3):
        assert not (await watcher.stream.frame(small_png, 0)).faces
    service.network.confidence = 0.9
    face = await watcher.see(service, [OPEN])
    assert face["generation"] == 2
    assert face["signals"]["blinks"]["count"] == 1


async def test_an_eye_that_is_turned_away_is_not_said_to_be_open(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    watcher = Watcher(small_png)
    await watcher.connect(service)
    await watcher.see(service, [OPEN])
    service.network.pose = np.radians([-75, 0, 0]).astype(np.float32)
    signals = (await watcher.see(service, [OPEN]))["signals"]
    assert signals["left_eye"] == signals["right_eye"] == {"open": None, "pupil": None}
    assert signals["blinks"] == {"count": 0, "closed_s": None, "last": None}

"""Clients that keep a service busy while a test breaks something, and what happened to them."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import cv2
import httpx
import numpy as np
import skimage.data

from atpn import AsyncClient
from atpn.client import Frame
from tests import clips
from tests.clips import encoded

TRIES = 20  # of one image, each after the time that the refusal names


def crowd(count: int, faces: int) -> list[bytes]:
    """Frames of ``faces`` faces side by side (1 to 3), which sway a little."""
    photo = skimage.data.astronaut()
    frames = []
    for i in range(count):
        phase = 2 * np.pi * i / count
        half = clips.view(photo, 225 + 12 * np.sin(phase), 130 + 8 * np.cos(phase), 300)
        images = [half, half[:, ::-1], cv2.convertScaleAbs(half, alpha=0.8)][:faces]
        frames.append(encoded(np.ascontiguousarray(np.concatenate(images, 1)).astype(np.uint8)))
    return frames


@dataclass
class Streamed:
    """One stream of our own client, which reconnects and resumes by itself."""

    faces: int
    frames: list[Frame] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)  # when each was given, by the monotonic clock
    at: list[float] = field(default_factory=list)  # when each was answered

    @property
    def resumes(self) -> int:
        """How often it went on from a stored state."""
        return sum(frame.state == "resumed" for frame in self.frames)

    @property
    def gaps_ms(self) -> list[float]:
        """Milliseconds before each answer after a resumption since the answer before it."""
        pairs = zip(self.frames[1:], self.at, self.at[1:], strict=False)
        return [1000 * (after - before) for f, before, after in pairs if f.state == "resumed"]

    @property
    def waits_ms(self) -> list[float]:
        """Milliseconds from each frame to its answer."""
        return [1000 * (at - asked) for asked, at in zip(self.asked, self.at, strict=False)]

    @property
    def resumed_ms(self) -> list[float]:
        """Milliseconds to the answer of each frame on which it went on from a stored state."""
        pairs = zip(self.waits_ms, self.frames, strict=False)
        return [wait for wait, frame in pairs if frame.state == "resumed"]

    def latencies_ms(self, begin: float, end: float) -> list[float]:
        """Milliseconds from one answer to the next, of the answers in that time."""
        pairs = zip(self.at, self.at[1:], strict=False)
        return [1000 * (after - before) for before, after in pairs if begin <= after < end]

    def check(self, killed: bool = False) -> None:
        """Every frame was answered once, in order, in one session, with the same faces.

        A replica that was ``killed`` may not have stored its last frame, or not answered it: the
        number of the next is then that of the last, or one is left out.
        """
        assert [f.index for f in self.frames] == list(range(len(self.frames)))
        assert self.frames[0].seq == 1
        for before, after in itertools.pairwise(self.frames):
            step = (after.seq or 0) - (before.seq or 0)
            allowed = {0, 1, 2} if killed and after.state == "resumed" else {1}
            assert step in allowed, f"{before.seq} {before.state}, then {after.seq} {after.state}"
        assert {f.session_id for f in self.frames} == {self.frames[0].session_id}
        assert self.frames[0].state == "detected"
        assert {(f.state, f.error) for f in self.frames[1:]} <= {
            ("tracked", None),
            ("resumed", None),
        }
        ids = {
            tuple((face.track_id, face.answer["generation"]) for face in f.faces)
            for f in self.frames
        }
        assert ids == {tuple((number, 1) for number in range(1, self.faces + 1))}

    async def run(self, url: str, ended: asyncio.Event, pause_s: float) -> None:
        """Stream until ``ended``; ``pause_s`` is between an answer and the next frame."""
        pictures = crowd(24, self.faces)

        async def camera() -> AsyncIterator[bytes]:
            while not ended.is_set():
                self.asked.append(time.monotonic())
                yield pictures[len(self.frames) % len(pictures)]
                await asyncio.sleep(pause_s)

        async with AsyncClient(url, timeout_s=60) as client:
            async for frame in client.track(camera()):
                self.frames.append(frame)
                self.at.append(time.monotonic())


@dataclass
class Posted:
    """One caller of /align that tries again only where it is told to."""

    answers: Counter[str] = field(default_factory=Counter)  # by status and code
    broken: list[str] = field(default_factory=list)  # connections that failed, by their error
    late: int = 0  # images that were refused TRIES times

    async def run(self, url: str, image: bytes, ended: asyncio.Event, pause_s: float) -> None:
        """Post until ``ended``, over one connection as long as it lives."""
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            while not ended.is_set():
                try:
                    self.late += not await self._one(client, image)
                except httpx.TransportError as error:
                    self.broken.append(repr(error))
                await asyncio.sleep(pause_s)

    async def _one(self, client: httpx.AsyncClient, image: bytes) -> bool:
        headers = {"content-type": "image/jpeg"}
        for _ in range(TRIES):
            answer = await client.post("/align", content=image, headers=headers)
            if answer.status_code == 200:
                self.answers["200"] += 1
                assert len(answer.json()["faces"]) == 1
                return True
            kind = answer.headers.get("content-type")
            code = answer.json()["code"] if kind == "application/problem+json" else "proxy"
            self.answers[f"{answer.status_code} {code}"] += 1
            await asyncio.sleep(float(answer.headers.get("retry-after", 0.1)))
        return False

"""A quick look at a service's speed: many clients that each send one request after another."""

import asyncio
import io
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from atpn.client import AsyncClient, ClientError

MIDDLE = (220.0, 140.0, 420.0, 340.0)  # the box of the picture below


@dataclass
class Tally:
    """What the clients saw."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    faces: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def figures(self) -> dict[str, object]:
        """Rates per second and latencies in milliseconds; None where nothing was answered."""
        p50, p95, p99 = self.percentiles()
        return {
            "requests": len(self.latencies_ms),
            "requests_per_s": round(len(self.latencies_ms) / self.seconds, 1),
            "faces_per_s": round(self.faces / self.seconds, 1),
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
            "errors": dict(self.errors),
            "seconds": round(self.seconds, 2),
        }

    def percentiles(self) -> list[float | None]:
        """The 50th, 95th and 99th of the latencies, in milliseconds."""
        if not self.latencies_ms:
            return [None] * 3
        found = np.percentile(self.latencies_ms, [50, 95, 99])
        return [round(float(value), 2) for value in found]


def noise() -> bytes:
    """A 640x480 JPEG of coloured clouds: as heavy to decode as a photograph."""
    from PIL import Image  # noqa: PLC0415

    small = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


async def measure(
    url: str, key: str | None, image: bytes | None, clients: int, seconds: float
) -> Tally:
    """Send ``image`` to /align, looking for faces; without one a picture with a given box."""
    tally = Tally()
    data, boxes = (noise(), [MIDDLE]) if image is None else (image, None)

    async def one(client: AsyncClient, end: float) -> None:
        while time.perf_counter() < end:
            before = time.perf_counter()
            try:
                result = await client.align(data, boxes=boxes)
            except ClientError as error:
                tally.errors[error.code] += 1
                await asyncio.sleep(min(error.retry_after_s or 0.05, end - before))
            else:
                tally.faces += len(result.faces)
                tally.latencies_ms.append(1000 * (time.perf_counter() - before))

    async with AsyncClient(url, key=key, retries=0) as client:
        await client.align(data, boxes=boxes)  # a wrong address or key ends here
        started = time.perf_counter()
        await asyncio.gather(*(one(client, started + seconds) for _ in range(clients)))
        tally.seconds = time.perf_counter() - started
    return tally

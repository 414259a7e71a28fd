"""How much one client may ask for: a token bucket for each, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from atpn.errors import RateLimited

MOST_CLIENTS = 10_000  # remembered; the one that was quiet longest makes room


@dataclass
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """Lets each client take ``per_s`` tokens a second, and ``burst`` at once; 0 is no limit."""

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, client: str, count: int = 1, paid: int = 0) -> None:
        """Take ``count`` tokens; RateLimited, and nothing taken, where they are not there.

        More than a whole burst is let through where the bucket is full, and paid off after;
        ``paid`` were taken for the same request just before.
        """
        if not self._per_s:
            return
        now = self._clock()
        bucket = self._buckets.pop(client, None) or _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        self._buckets[client] = bucket
        while len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        wanted = min(count, self._burst - paid)
        if bucket.tokens < wanted:
            raise RateLimited(
                f"more than {self._per_s:g} images a second",
                retry_after_s=(wanted - bucket.tokens) / self._per_s,
            )
        bucket.tokens -= count

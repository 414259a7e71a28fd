"""Where a stream's tracking state survives its connection: a store of bytes with expiry.

Both stores keep a sequence number beside the bytes and refuse to go back, so that a stale
replica cannot overwrite a newer frame.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from atpn.errors import StaleWrite


@dataclass(frozen=True)
class Saved:
    """A stored state and the sequence number of the frame it belongs to."""

    seq: int
    data: bytes


class Store(Protocol):
    """Keeps the newest state of each session for a limited time."""

    async def load(self, key: str) -> Saved | None:
        """The state, or None where there is none or it expired."""

    async def save(self, key: str, state: Saved) -> None:
        """Keep ``state`` for the store's TTL; StaleWrite if one at least as new is there.

        The very state that is there may be saved again: its time begins anew.
        """

    async def ping(self) -> None:
        """Return if the store answers; StoreUnavailable otherwise."""

    async def close(self) -> None:
        """Free what the store holds."""


class Tokens:
    """Makes resume tokens: 256 random bits and, where keys are set, their signature.

    The first key signs, all are accepted. How long a token is good for is the store's to say:
    its session lives on from frame to frame.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = [key.encode() for key in keys]

    def new(self) -> str:
        """An unguessable token."""
        body = secrets.token_urlsafe(32)
        return f"{body}.{_signature(self._keys[0], body)}" if self._keys else body

    def accepts(self, token: str) -> bool:
        """Whether it can be one of ours: without keys, only the store knows."""
        body, _, signature = token.rpartition(".")
        given = signature.encode(errors="replace")
        good = [hmac.compare_digest(given, _signature(k, body).encode()) for k in self._keys]
        return any(good) or not good


def _signature(key: bytes, body: str) -> str:
    """HMAC-SHA256 in base64url (RFC 2104)."""
    digest = hmac.digest(key, body.encode(errors="replace"), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def key_of(token: str) -> str:
    """The key that a token's session is stored under; the token itself is never stored."""
    return hashlib.sha256(token.encode()).hexdigest()


class MemoryStore(Store):
    """Sessions of this process only: for one replica, for development and for tests."""

    def __init__(
        self, ttl_s: float, max_sessions: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._max = max_sessions
        self._clock = clock
        self._saved: OrderedDict[str, tuple[float, Saved]] = OrderedDict()  # oldest write first

    @override
    async def load(self, key: str) -> Saved | None:
        self._expire()
        found = self._saved.get(key)
        return None if found is None else found[1]

    @override
    async def save(self, key: str, state: Saved) -> None:
        """The session longest without a frame makes room for a new one."""
        self._expire()
        found = self._saved.get(key)
        if found is not None and found[1].seq >= state.seq and found[1] != state:
            raise StaleWrite(f"frame {found[1].seq} is stored already")
        self._saved[key] = (self._clock() + self._ttl_s, state)
        self._saved.move_to_end(key)
        while len(self._saved) > self._max:
            self._saved.popitem(last=False)

    async def ping(self) -> None:
        """Memory always answers."""

    async def close(self) -> None:
        """Forget everything."""
        self._saved.clear()

    def _expire(self) -> None:
        now = self._clock()
        while self._saved:
            key, (expires, _) = next(iter(self._saved.items()))
            if expires > now:
                return
            del self._saved[key]

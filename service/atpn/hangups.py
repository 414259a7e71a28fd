"""SIGHUP asks for the newest model: until somebody listens, it is kept and ends no process."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_kept: list[int] = []


@contextmanager
def kept() -> Iterator[None]:
    """Hangups are kept for who listens later in the block: `came`."""
    before = signal.signal(signal.SIGHUP, lambda sign, _: _kept.append(sign))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def came() -> bool:
    """Whether one was kept; it is forgotten."""
    one = bool(_kept)
    _kept.clear()
    return one


@contextmanager
def held_back() -> Iterator[None]:
    """A process that is started in the block gets hangups only once it keeps them itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

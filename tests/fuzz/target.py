"""What one fuzz target is, and what it demands of every input."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

MOST_CPU_S = 1.0  # of one input: the largest is MOST_BYTES long
MOST_BYTES = 4096

Check = Callable[[bytes], None]


class TooSlowError(AssertionError):
    """An input that costs more than MOST_CPU_S."""


@dataclass(frozen=True)
class Target:
    """Something that takes bytes: ``open`` gives a check that returns, or raises what is wrong.

    A check swallows the errors that callers are told of (`atpn.errors`), and no others.
    """

    name: str
    open: Callable[[], AbstractContextManager[Check]]
    seeds: Callable[[], list[bytes]]
    mend: Callable[[bytes], bytes] = bytes  # makes checksums right again after a mutation


@contextmanager
def opened(target: Target) -> Iterator[Check]:
    """The target's check, which also fails where an input takes too long."""
    with target.open() as check:
        yield lambda data: bounded(check, data)


def bounded(check: Check, data: bytes) -> None:
    """Check ``data``; TooSlowError where it took more than MOST_CPU_S of CPU time."""
    started = time.process_time()
    check(data)
    used_s = time.process_time() - started
    if used_s > MOST_CPU_S:
        raise TooSlowError(f"{len(data)} bytes took {used_s:.2f} s of CPU time")

"""How long a request is worth answering: until its deadline, or until its client hangs up."""

import asyncio
import math
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

from atpn.core import Core
from atpn.errors import ClientGone, InvalidRequest, ShuttingDown

T = TypeVar("T")


def wanted_core(request: Request) -> Core:
    """The core; ShuttingDown where it takes no new work."""
    core: Core = request.app.state.core
    if core.draining.is_set():
        raise ShuttingDown("this replica is shutting down; retry on another", retry_after_s=1)
    return core


def timeout_of(request: Request, most: float) -> float:
    """Seconds until the answer is useless: X-Request-Timeout, at most the setting."""
    text = request.headers.get("x-request-timeout")
    if text is None:
        return most
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:  # NaN too
        raise InvalidRequest(f"X-Request-Timeout: a positive number of seconds, not {text!r}")
    return min(seconds, most)


async def unless_gone(request: Request, work: Coroutine[None, None, T]) -> T:
    """The result of ``work``; ClientGone, and ``work`` cancelled, if the client hangs up.

    The body must have been read: from then on the only message that can come is the end.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait([task, watch], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("the client closed the connection")
        return task.result()
    finally:
        for owned in (task, watch):
            owned.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

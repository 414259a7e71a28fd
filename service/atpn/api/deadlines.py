"""How long a request is worth answering: until its deadline, or until its client hangs up."""

import asyncio
import math
import time
from collections.abc import Coroutine
from typing import TypeVar

from fastapi import Request

from atpn.core import Core
from atpn.errors import ClientGone, InvalidRequest, ShuttingDown

T = TypeVar("T")

UNWATCHED_S = 0.02  # of work, before its client is watched


def wanted_core(request: Request) -> Core:
    """The core; ShuttingDown where it takes no new work."""
    core: Core = request.app.state.core
    if core.draining.is_set():
        raise ShuttingDown("this replica is shutting down; retry on another", retry_after_s=1)
    return core


def timeout_of(request: Request, most: float) -> float:
    """Seconds until the answer is useless: X-Request-Timeout, at most the setting, less what has
    passed since this was asked first.
    """
    now = time.monotonic()
    deadline: float | None = request.scope.get("atpn.deadline")
    if deadline is None:
        deadline = request.scope["atpn.deadline"] = now + _wished_timeout(request, most)
    return max(0.0, deadline - now)


def _wished_timeout(request: Request, most: float) -> float:
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

    The body must have been read: from then on the only message that can come is the end. It is
    listened for where the work takes longer than most: a task for that is as dear as an answer.
    """
    loop = asyncio.get_running_loop()
    ours = asyncio.current_task()
    assert ours is not None  # noqa: S101 - a coroutine of a request runs in a task
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        ours.cancel()

    watching: list[asyncio.Task[None]] = []
    soon = loop.call_later(UNWATCHED_S, lambda: watching.append(loop.create_task(watch())))
    try:
        return await work
    except asyncio.CancelledError:
        if gone and not ours.uncancel():
            raise ClientGone("the client closed the connection") from None
        raise
    finally:
        soon.cancel()
        for task in watching:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

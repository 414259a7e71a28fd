"""What the blocking and the asynchronous stream share: how to connect, and what an end means."""

import importlib.util
import socket
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from atpn.client.protocol import Loss
from atpn.client.requests import Endpoint

JSON = Subprotocol("atpn.v1.json")
MSGPACK = Subprotocol("atpn.v1.msgpack")  # shorter; the service may not know it
#: Seconds between pings: what is sent makes a network that was cut show itself.
PING_S = 5
MAX_ANSWER = 16 * 1024 * 1024  # bytes of a message of the service

LONGEST_MS = 2**31 - 1  # that the kernel takes

#: How a connection can fail to open or end.
ENDS = (OSError, ConnectionClosed, InvalidHandshake, EOFError)


def options(endpoint: Endpoint) -> dict[str, Any]:
    """The arguments of websockets' ``connect``, of both kinds."""
    packed = [MSGPACK] if importlib.util.find_spec("msgpack") else []
    tls = {"ssl": endpoint.trusted} if endpoint.url.startswith("https") else {}
    return tls | {
        "subprotocols": [*packed, JSON],
        "additional_headers": endpoint.headers,
        "user_agent_header": None,
        "compression": None,  # frames are compressed images already
        "open_timeout": endpoint.timeout_s,
        "close_timeout": 1,
        "ping_interval": PING_S,
        "max_size": MAX_ANSWER,
    }


def bound(raw: socket.socket, timeout_s: float) -> None:
    """Sending fails where for ``timeout_s`` the other side takes nothing (RFC 5482's user timeout).

    Without it a blocked send would wait for ever. Linux alone can do that.
    """
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        ms = min(max(round(1000 * timeout_s), 1), LONGEST_MS)
        with suppress(OSError):  # refused and closed already: why is still to be read
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ms)


def loss_of(error: Exception, timeout_s: float, opening: bool) -> Loss:
    """What one of `ENDS` means to the stream; ``opening``: before there was a connection."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return Loss(f"HTTP {status} instead of a WebSocket", status=status)
    if isinstance(error, ConnectionClosed):
        code = None if error.rcvd is None else error.rcvd.code
        return Loss(str(error), close_code=code)
    if isinstance(error, TimeoutError):
        return Loss(f"no answer within {timeout_s:g} s", unreachable=opening)
    return Loss(str(error) or type(error).__name__, unreachable=opening)

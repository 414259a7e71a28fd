"""The Python client: photographs and frames to a running service, typed faces back.

Needs numpy, httpx and websockets, nothing of the server.
"""

import importlib
from typing import TYPE_CHECKING, Any

from atpn.client.errors import ClientError, ConnectionFailed, ServiceError, TimedOut
from atpn.client.pictures import Picture
from atpn.client.results import Box, Face, Frame, Pose, Result
from atpn.client.signals import Blink, Blinks, Eye, Signals

if TYPE_CHECKING:
    from atpn.client.aio import AsyncClient
    from atpn.client.sync import Client

__all__ = [
    "AsyncClient",
    "Blink",
    "Blinks",
    "Box",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Eye",
    "Face",
    "Frame",
    "Picture",
    "Pose",
    "Result",
    "ServiceError",
    "Signals",
    "TimedOut",
]


def __getattr__(name: str) -> Any:
    """The clients when they are first asked for: results and errors do without their libraries."""
    modules = {"AsyncClient": "atpn.client.aio", "Client": "atpn.client.sync"}
    if name in modules:
        return getattr(importlib.import_module(modules[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

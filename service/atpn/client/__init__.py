"""The Python client: photographs and frames to a running service, typed faces back.

Needs numpy, httpx and websockets, nothing of the server.
"""

from atpn.client.aio import AsyncClient
from atpn.client.errors import ClientError, ConnectionFailed, ServiceError, TimedOut
from atpn.client.pictures import Picture
from atpn.client.results import Box, Face, Frame, Pose, Result
from atpn.client.signals import Blink, Blinks, Eye, Signals
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

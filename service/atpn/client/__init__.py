"""The Python client: photographs and frames to a running service, typed faces back.

Needs numpy, httpx and websockets, nothing of the server.
"""

from atpn.client.aio import AsyncClient
from atpn.client.errors import ClientError, ConnectionFailed, ServiceError, TimedOut
from atpn.client.pictures import Picture
from atpn.client.results import Box, Eye, Face, Frame, Pose, Result, Signals
from atpn.client.sync import Client

__all__ = [
    "AsyncClient",
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

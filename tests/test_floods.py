"""A client that floods a stream, and reads nothing of what is answered, costs little memory."""

import socket
import time
from contextlib import suppress

import pytest
from websockets.frames import Frame, Opcode

from tests.server import Server, running
from tests.test_memory import resident_mib

HANDSHAKE = (
    "GET /track HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)
MIB = 2**20
MOST_MIB, MOST_S = 400, 6.0
GROWTH_MIB = 50


def flooded(server: Server, message: bytes) -> tuple[float, float]:
    """MiB of ``message``, over and over, that one stream takes; MiB that the process has then."""
    piece = message * max(1, 65536 // len(message))
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HANDSHAKE.format(port=server.port).encode())
        client.recv(100)
        client.settimeout(1.5)
        ends = time.monotonic() + MOST_S
        with suppress(TimeoutError):  # it is not read from any more
            while sent < MOST_MIB * MIB and time.monotonic() < ends:
                client.sendall(piece)
                sent += len(piece)
        return sent / MIB, resident_mib(server)


@pytest.mark.parametrize(
    ("opcode", "size", "most_mib"),
    [
        (Opcode.PING, 125, 30),  # what the two kernels' buffers hold
        (Opcode.TEXT, 0, 30),
        (Opcode.BINARY, 0, 30),
        (Opcode.BINARY, MIB, MOST_MIB),  # the newest of them replaces the one that waits
    ],
    ids=["pings", "texts", "empty frames", "large frames"],
)
def test_a_flood_does_not_fill_the_memory(opcode: Opcode, size: int, most_mib: float) -> None:
    message = Frame(opcode, b"\0" * size).serialize(mask=True)
    with running(max_frame_bytes=str(2 * MIB)) as server:
        before = resident_mib(server)
        taken, after = flooded(server, message)
        assert after - before < GROWTH_MIB, f"{before:.0f} MiB grew to {after:.0f} MiB"
    assert 1 < taken < most_mib + 1

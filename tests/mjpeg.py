"""A camera of the network on loopback: MJPEG over HTTP, that can stall, hang up and send junk."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import skimage.data

from atpn.geometry import Image
from tests import clips

MOST_S = 30  # of one silence: what a failed test leaves behind ends, too


@cache
def picture(number: int) -> bytes:
    """A JPEG with one face, whose upper edge tells its number, 0 to 255."""
    image = clips.view(skimage.data.astronaut(), 225, 130, 250).copy()
    image[:32] = 0
    for bit in range(8):
        image[:32, 32 * bit : 32 * bit + 32] = 255 * (number >> bit & 1)
    return clips.encoded(image)


def number_of(image: Image) -> int:
    """The number that a picture tells."""
    bits = [image[8:24, 32 * bit + 8 : 32 * bit + 24].mean() > 128 for bit in range(8)]
    return int(np.dot(bits, 1 << np.arange(8)))


def part(data: bytes) -> bytes:
    """One part of the stream."""
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data + b"\r\n"


#: What a connection sends one after the other, waiting so many seconds after it.
Step = tuple[bytes, float]


def frames(numbers: Iterable[int], rate: float = 50) -> Iterator[Step]:
    """These pictures by the clock."""
    return ((part(picture(number)), 1 / rate) for number in numbers)


MJPEG = {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}
SILENCE: Step = (b"", MOST_S)
NO_PICTURE: Step = (part(b"\xff\xd8 no picture \xff\xd9"), 0.02)
NO_PART: Step = (b"neither a boundary nor a picture " * 200, 0.02)


class NetworkCamera:
    """Sends each connection the steps that were given for it, then hangs up; then refuses all."""

    def __init__(
        self,
        *connections: Iterable[Step],
        status: int = 503,
        headers: Mapping[str, str] = MJPEG,
    ) -> None:
        self.connections = 0  # so far
        self._planned = [iter(steps) for steps in connections]
        self._refusal, self._headers = status, headers
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/cam.mjpeg"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="camera").start()

    def close(self) -> None:
        """Hang up and accept no more."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                camera.connections += 1
                planned = camera._planned.pop(0) if camera._planned else None
                self.send_response(camera._refusal if planned is None else 200)
                for name, value in camera._headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    for data, wait_s in planned or ():
                        self.wfile.write(data)
                        if camera._over.wait(wait_s):
                            return

        return Handler


@contextmanager
def camera(
    *connections: Iterable[Step], status: int = 503, headers: Mapping[str, str] = MJPEG
) -> Iterator[NetworkCamera]:
    """A camera that is closed with the block."""
    started = NetworkCamera(*connections, status=status, headers=headers)
    try:
        yield started
    finally:
        started.close()

"""The service as a process of its own, and the load process that is let loose on it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BOUNDARY = b"atpn-loadtest"
START_S = 60  # until /readyz
STOP_S = 20  # from SIGTERM to the end of the process


@dataclass(frozen=True)
class Load:
    """What one run of the load process saw, and what it cost."""

    answers: int
    failed: int  # not a 200 with one face
    wall_s: float
    p50_ms: float
    p99_ms: float
    parts_ms: dict[str, float]  # medians of decode, queue, inference, rest
    client_cpu_s: float
    server_cpu_s: float

    @property
    def per_s(self) -> float:
        """Answers per second of the clock."""
        return self.answers / self.wall_s

    @property
    def per_server_cpu_s(self) -> float:
        """Answers per CPU second of the service."""
        return self.answers / self.server_cpu_s


@dataclass(frozen=True)
class Served:
    """A running service."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """CPU seconds that the process has used, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, request: bytes, connections: int, seconds: float) -> Load:
        """Send ``request`` over so many connections; RuntimeError if an answer is no face."""
        before = self.cpu_s()
        arguments = [str(self.port), str(connections), str(seconds)]
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.client", *arguments],
            input=request,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
            timeout=seconds + START_S,
        )
        # The kernel counts CPU time in ticks: less than one tick is told as none.
        cpu_s = max(self.cpu_s() - before, 1 / os.sysconf("SC_CLK_TCK"))
        load = Load(**json.loads(done.stdout), server_cpu_s=cpu_s)
        if load.failed:
            raise RuntimeError(f"{load.failed} of {load.answers} answers were not 200 with a face")
        return load


def align_request(picture: bytes, box: tuple[float, float, float, float]) -> bytes:
    """POST /align with a JPEG and one given box as a form, ready for the socket."""
    field = b'--%b\r\nContent-Disposition: form-data; name="' % BOUNDARY
    body = b"".join(
        [
            b'%bboxes"\r\n\r\n%b\r\n' % (field, json.dumps([box]).encode()),
            b'%bimage"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' % field,
            b"%b\r\n--%b--\r\n" % (picture, BOUNDARY),
        ]
    )
    head = (
        "POST /align HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def service() -> Iterator[Served]:
    """`atpn serve` on a free loopback port and the CPU, without keys; ended with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HOST": "127.0.0.1", "PORT": f"{port}", "DEVICE": "cpu", "LOG_LEVEL": "warning"}
    settings |= {"API_KEY_HASHES": "[]", "SECOND_LOOK": "false"}  # as bare session.run looks once
    environment = os.environ | {f"ATPN_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-m", "atpn", "serve"], env=environment)
    try:
        wait_ready(process, port)
        yield Served(port, process.pid)
    finally:
        stop(process)


def wait_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Return when /readyz answers 200; RuntimeError if it does not within START_S."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                raise RuntimeError("the service ended while it started") from None
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {START_S} s")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask the process to end, and end it if it does not within STOP_S."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The service as a process of its own, and the load process that is let loose on it."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.bodies import Request
from loadtests.processes import ROOT, TICK_S, Server, free_port, started

START_S = 60  # until /readyz


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
class Served(Server):
    """A running service."""

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
        # Less than one tick is told as none.
        cpu_s = max(self.cpu_s() - before, TICK_S)
        load = Load(**json.loads(done.stdout), server_cpu_s=cpu_s)
        if load.failed:
            raise RuntimeError(f"{load.failed} of {load.answers} answers were not 200 with a face")
        return load


def align_request(picture: bytes, box: tuple[float, float, float, float]) -> bytes:
    """POST /align with a JPEG as the body and one given box, ready for the socket.

    With the head pose, which the bare network that it is compared with computes, too.
    """
    boxes = json.dumps([box], separators=(",", ":"))
    return Request(
        f"/align?include=pose&boxes={boxes}", picture, {"Content-Type": "image/jpeg"}
    ).on_the_wire()


@contextmanager
def service(**more: str) -> Iterator[Served]:
    """`atpn serve` on a free loopback port and the CPU, without keys; ended with the block.

    ``more`` are further settings, as ``redis_url="redis://..."``.
    """
    port = free_port()
    settings = {"HOST": "127.0.0.1", "PORT": f"{port}", "DEVICE": "cpu", "LOG_LEVEL": "warning"}
    settings |= {"API_KEY_HASHES": "[]", "SECOND_LOOK": "false"}  # as bare session.run looks once
    settings |= {name.upper(): value for name, value in more.items()}
    environment = {f"ATPN_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "atpn", "serve"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with started(command, environment, port, log) as server:
            served = Served(server.port, server.pid)
            wait_ready(served, log)
            yield served


def wait_ready(served: Served, log: Path) -> None:
    """Return when /readyz answers 200; RuntimeError if it does not within START_S."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and served.pids():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{log.read_text()[-2000:]}")

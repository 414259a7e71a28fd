"""Starts `atpn serve` as a process of its own, as an operator would."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.stores import free_port

START_S = 30


class Server:
    """A running service on a loopback port: a free one, unless ``port`` is given."""

    def __init__(self, **settings: str) -> None:
        self.port = int(settings.get("port") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.track_url = f"ws://127.0.0.1:{self.port}/track"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LD_PRELOAD")}
        environment |= {f"ATPN_{name.upper()}": value for name, value in settings.items()}
        environment["ATPN_PORT"] = str(self.port)
        self.process = subprocess.Popen([sys.executable, "-m", "atpn", "serve"], env=environment)

    def wait_ready(self) -> None:
        """Return when /readyz answers 200."""
        with httpx.Client(base_url=self.url, timeout=2, trust_env=False) as client:
            for _ in range(START_S * 10):
                try:
                    if client.get("/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    if self.process.poll() is not None:
                        raise RuntimeError("the service ended while it started") from None
                time.sleep(0.1)
        raise RuntimeError(f"the service was not ready within {START_S} s")

    def stop(self) -> int:
        """Ask it to end, as an orchestrator would; returns its exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def kill(self) -> None:
        """End it without warning, as a crash would."""
        self.process.kill()
        self.process.wait(10)


def metric(url: str, name: str) -> float:
    """The value of one sample by its full name with labels; 0 where it is absent."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@contextmanager
def running(**settings: str) -> Iterator[Server]:
    """A ready service with these settings, ended with the block."""
    server = Server(**settings)
    try:
        server.wait_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()

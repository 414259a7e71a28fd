"""The stack's own files at work as processes: proxy, replicas, Redis and Prometheus.

What differs from `docker compose up` is addresses alone. The proxy reads them from its PROXY_
variables; Prometheus gets its targets by list, because it asks the machine's own name servers.
"""

import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml

from tests.deploy.files import MONITORING, ROOT
from tests.stores import free_port, server_binary

PASSWORD = "for-the-test"
REPLICAS = ("127.0.0.2", "127.0.0.3")  # all of 127.0.0.0/8 is the loopback interface
START_S = 240


class Names(socketserver.BaseRequestHandler):
    """A name server's answer: every question is answered with the addresses of the replicas."""

    addresses: tuple[str, ...] = REPLICAS

    def handle(self) -> None:
        """Answer one question for IPv4 addresses (RFC 1035, 4.1)."""
        query, reply_to = self.request
        end = query.index(b"\0", 12) + 5
        records = self.addresses if query[end - 4 : end - 2] == b"\0\1" else ()
        head = query[:2] + b"\x81\x80\0\1" + len(records).to_bytes(2, "big") + b"\0\0\0\0"
        answers = b"".join(
            b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) for address in records
        )
        reply_to.sendto(head + query[12:end] + answers, self.client_address)


@contextmanager
def name_server() -> Iterator[int]:
    """A name server on a loopback port, as Docker's is on 127.0.0.11."""
    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Names) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def linger_s() -> str:
    """How long a replica lingers, by the Compose file."""
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    return str(services["atpn"]["environment"]["ATPN_LINGER_S"])


def launched(*command: str, **environment: str) -> subprocess.Popen[bytes]:
    """A program, without settings of the service but those that are given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATPN_", "LD_PRELOAD"))}
    return subprocess.Popen(command, env=kept | environment)


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block."""
    started = launched(*command, **environment)
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Return when ``condition()`` holds; connections that are refused mean not yet."""
    for _ in range(START_S * 5):
        try:
            if condition():
                return
        except (httpx.TransportError, redis.RedisError):
            pass
        time.sleep(0.2)
    raise TimeoutError(f"{what} within {START_S} s")


@dataclass
class Stack:
    """Everything that compose.yaml starts, but for Grafana."""

    proxy: int  # ports
    proxy_metrics: int
    service: int
    redis: int
    prometheus: int
    client: httpx.Client
    replicas: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, address: str) -> None:
        """Start the replica with this address; it is not ready yet."""
        self.replicas[address] = launched(
            *(sys.executable, "-m", "atpn", "serve"),
            ATPN_HOST=address,
            ATPN_PORT=str(self.service),
            ATPN_LINGER_S=linger_s(),
            # However busy the machine of the test is.
            ATPN_REDIS_TIMEOUT_S="5",
            ATPN_REQUEST_TIMEOUT_S="60",
            ATPN_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{self.redis}/0",
            PYTHONPATH=os.environ.get("PYTHONPATH", ""),
        )

    def stop(self) -> None:
        """End all replicas without warning."""
        for replica in self.replicas.values():
            replica.kill()
            replica.wait(10)

    def open_streams(self) -> dict[str, int]:
        """Replica that answers -> its open streams."""
        found = {}
        for address in self.replicas:
            try:
                answer = self.client.get(f"http://{address}:{self.service}/readyz")
            except httpx.TransportError:
                continue
            found[address] = answer.json()["streams"]
        return found

    def series(self, query: str) -> list[Any]:
        """What Prometheus answers to a query."""
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query"
        result: list[Any] = self.client.get(url, params={"query": query}).json()["data"]["result"]
        return result


def prometheus_config(stack: Stack, folder: Path) -> Path:
    """The real configuration with lists of addresses in place of names."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    targets = {
        "atpn": [f"{address}:{stack.service}" for address in REPLICAS],
        "proxy": [f"127.0.0.1:{stack.proxy_metrics}"],
        "prometheus": [f"127.0.0.1:{stack.prometheus}"],
    }
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": targets.pop(job["job_name"])}]
    assert not targets
    shutil.copy(MONITORING / "alerts.yml", folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """The stack, ready, ended with the block; ``folder`` is for what it writes."""
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed (apt-get install haproxy)")
    with ExitStack() as parts:
        start = parts.enter_context
        client = start(httpx.Client(timeout=5, trust_env=False))
        found = Stack(free_port(), free_port(), free_port(), free_port(), free_port(), client)
        names = start(name_server())
        start(
            process(
                *(server_binary(), str(ROOT / "docker" / "redis.conf"), "--dir", str(folder)),
                *("--port", str(found.redis), "--bind", "127.0.0.1", "--requirepass", PASSWORD),
            )
        )
        parts.callback(found.stop)
        for address in REPLICAS:
            found.start(address)
        start(
            process(
                *(haproxy, "-f", str(ROOT / "docker" / "haproxy" / "haproxy.cfg")),
                PROXY_LISTEN=f"127.0.0.1:{found.proxy}",
                PROXY_METRICS=f"127.0.0.1:{found.proxy_metrics}",
                PROXY_REPLICAS=f"atpn:{found.service}",
                PROXY_NAMESERVER=f"127.0.0.1:{names}",
            )
        )
        if shutil.which("prometheus"):
            start(
                process(
                    *("prometheus", f"--config.file={prometheus_config(found, folder)}"),
                    f"--storage.tsdb.path={folder / 'series'}",
                    f"--web.listen-address=127.0.0.1:{found.prometheus}",
                    "--log.level=warn",
                )
            )
        wait_for(lambda: len(found.open_streams()) == len(REPLICAS), "the replicas are not ready")
        ready = f"http://127.0.0.1:{found.proxy}/readyz"
        wait_for(lambda: client.get(ready).status_code == 200, "the proxy finds no replica")
        yield found

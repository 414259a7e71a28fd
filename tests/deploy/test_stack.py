"""The stack's own files at work as processes: proxy, replicas, Redis and Prometheus.

What differs from `docker compose up` is addresses alone. The proxy reads them from its PROXY_
variables; Prometheus gets its targets by list, because it asks the machine's own name servers.
"""

import json
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
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests import clips
from tests.deploy.files import MONITORING, ROOT
from tests.stores import free_port, server_binary

PASSWORD = "for-the-test"
REPLICAS = ("127.0.0.2", "127.0.0.3")  # all of 127.0.0.0/8 is the loopback interface
START_S = 120


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


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that ends with the block."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATPN_", "LD_PRELOAD"))}
    started = subprocess.Popen(command, env=kept | environment)
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running stack."""
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed (apt-get install haproxy)")
    folder = tmp_path_factory.mktemp("stack")
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
        for address in REPLICAS:
            found.replicas[address] = start(
                process(
                    *(sys.executable, "-m", "atpn", "serve"),
                    ATPN_HOST=address,
                    ATPN_PORT=str(found.service),
                    ATPN_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:{found.redis}/0",
                    PYTHONPATH=os.environ.get("PYTHONPATH", ""),
                )
            )
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


async def answer(socket_: ClientConnection, frame: bytes) -> dict[str, Any]:
    """The service's answer to one frame."""
    await socket_.send(frame)
    message: dict[str, Any] = json.loads(await socket_.recv())
    return message


@pytest.mark.long
async def test_the_proxy_serves_photographs_and_hides_metrics(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stack.proxy}") as client:
        photo = (ROOT / "tests" / "photos" / "astronaut.jpg").read_bytes()
        headers = {"content-type": "image/jpeg"}
        faces = (await client.post("/align", content=photo, headers=headers)).json()["faces"]
        assert len(faces) == 1
        assert (await client.get("/metrics")).status_code == 404
        form = {"image": photo + b"\0" * 3_000_000}  # more than is kept in memory
        large = await client.post("/align", files=form)
        assert large.status_code == 200, large.text


@pytest.mark.long
async def test_redis_wants_the_password(stack: Stack) -> None:
    with (
        redis.Redis(port=stack.redis) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


@pytest.mark.long
async def test_prometheus_scrapes_both_replicas_and_the_proxy(stack: Stack) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    wait_for(lambda: len(stack.series("up == 1")) == 4, "not every target is up")
    assert len(stack.series("atpn_model_info")) == len(REPLICAS)
    assert stack.series("haproxy_process_start_time_seconds")
    rules = stack.client.get(f"http://127.0.0.1:{stack.prometheus}/api/v1/rules").json()["data"]
    health = [rule["health"] for group in rules["groups"] for rule in group["rules"]]
    assert health
    assert set(health) <= {"ok", "unknown"}


@pytest.mark.long
async def test_a_stream_goes_on_with_its_ids_when_its_replica_is_killed(stack: Stack) -> None:
    frames = clips.panning(40)
    url = f"ws://127.0.0.1:{stack.proxy}/track"
    async with connect(url) as first:
        token = json.loads(await first.recv())["token"]
        ids = {
            face["track_id"]
            for frame in frames[:15]
            for face in (await answer(first, frame))["faces"]
        }
        assert len(ids) == 1
        (home,) = [address for address, count in stack.open_streams().items() if count]
        stack.replicas[home].kill()
        with pytest.raises(ConnectionClosed):
            await answer(first, frames[15])
    killed = time.monotonic()
    async with connect(f"{url}?token={token}") as second:
        assert json.loads(await second.recv())["state"] == "resumed"
        answers = [await answer(second, frame) for frame in frames[16:]]
        (other,) = [address for address, count in stack.open_streams().items() if count]
    assert time.monotonic() - killed < START_S
    assert other != home
    assert answers[0]["state"] == "resumed"
    assert {face["track_id"] for a in answers for face in a["faces"]} == ids
    assert [a["seq"] for a in answers] == list(range(16, 16 + len(answers)))

"""`docker compose up` of the project's own file, as a project of its own for the tests."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import yaml

from tests.deploy.files import ROOT
from tests.engine.docker import DockerError, at_hand, docker

PROJECT = "atpn-engine-test"
FILE = ROOT / "compose.yaml"
#: A loopback address of its own, so that what the machine serves already is not in the way.
ADDRESS = os.environ.get("PUBLISH_ADDRESS", "127.0.0.77")
START_S = 120
#: Asks the replica from inside its container: the network is closed to everybody else.
ASK = """
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", 8000, timeout=5)
c.request("GET", sys.argv[1])
print(c.getresponse().read().decode())
"""


def images() -> dict[str, str]:
    """Service -> its image, of those that start without a profile."""
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    return {name: part["image"] for name, part in services.items() if "profiles" not in part}


class Compose:
    """The running project."""

    def __init__(self, services: list[str]) -> None:
        self.services = services
        self.url = f"http://{ADDRESS}:8000"
        self.prometheus = f"http://{ADDRESS}:9090"
        self.network = f"{PROJECT}_inside"

    def compose(self, *arguments: str) -> str:
        """What a command of Compose prints."""
        command = ("compose", "-p", PROJECT, "-f", str(FILE), *arguments)
        return docker(*command, PUBLISH_ADDRESS=ADDRESS, MONITORING_ADDRESS=ADDRESS)

    def up(self) -> None:
        """Start what is not there yet; returns when all are healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", *self.services)

    def scale(self, replicas: int) -> None:
        """Start or end so many replicas that there are ``replicas``."""
        given = ("--no-build", "--no-deps", "--no-recreate", "--scale", f"atpn={replicas}")
        self.compose("up", "--detach", *given, "atpn")

    def down(self) -> None:
        """End and remove everything, the volumes too."""
        self.compose("down", "--volumes", "--timeout", "2")

    def containers(self, service: str) -> list[str]:
        """The running containers of a service, in the order of their numbers."""
        lines = self.compose("ps", "--format", "{{.Name}}", service).split()
        return sorted(lines, key=lambda name: int(name.rpartition("-")[2]))

    def ready(self, replica: str) -> dict[str, Any]:
        """What a replica's /readyz says."""
        body: dict[str, Any] = json.loads(self.asked(replica, "/readyz"))
        return body

    def asked(self, replica: str, path: str) -> str:
        """A replica's answer, whether or not the proxy sends it anything."""
        return docker("exec", replica, "python", "-c", ASK, path)

    def busiest(self) -> str:
        """The replica with the most streams."""
        return max(self.containers("atpn"), key=lambda name: int(self.ready(name)["streams"]))

    def wait_well(self, replicas: int = 2) -> None:
        """Return when that many replicas are ready with their store, and the proxy knows."""
        wait_for(lambda: self._well() == replicas, f"{replicas} replicas are not well")
        wait_for(lambda: self.proxied() == replicas, f"the proxy does not see {replicas} replicas")

    def _well(self) -> int:
        states = []
        for name in self.containers("atpn"):
            with suppress(DockerError):
                states.append(self.ready(name))
        return sum(s["status"] == "ready" and s["store"] == "ok" for s in states)

    def proxied(self) -> int:
        """How many replicas the proxy holds for good, by its own metrics."""
        (proxy,) = self.containers("proxy")
        command = "wget -q -O - http://127.0.0.1:8404/metrics"
        lines = docker("exec", proxy, "sh", "-c", command).splitlines()
        mark = 'haproxy_server_status{proxy="replicas"'
        up = [line for line in lines if line.startswith(mark) and 'state="UP"' in line]
        return sum(line.endswith(" 1") for line in up)

    def series(self, query: str) -> list[Any]:
        """What Prometheus answers to a query."""
        answer = httpx.get(
            f"{self.prometheus}/api/v1/query", params={"query": query}, trust_env=False
        )
        result: list[Any] = answer.json()["data"]["result"]
        return result


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Return when ``condition()`` holds; what the engine refuses meanwhile is no answer yet."""
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        with suppress(DockerError, httpx.TransportError):
            if condition():
                return
        time.sleep(0.2)
    raise TimeoutError(f"{what} within {START_S} s")


@contextmanager
def running() -> Iterator[Compose]:
    """The project with all services whose images are at hand, ended with the block."""
    found = [name for name, image in images().items() if at_hand(image)]
    compose = Compose(found)
    missing = sorted(set(images()) - set(found))
    if missing:
        print(f"without {', '.join(missing)}: no such image here, and none can be pulled")  # noqa: T201
    compose.down()
    try:
        compose.up()
        compose.wait_well()
        yield compose
    finally:
        compose.down()


def status_of(container: str) -> dict[str, str]:
    """/proc/1/status of a container: who runs there and what it may."""
    lines = docker("exec", container, "cat", "/proc/1/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

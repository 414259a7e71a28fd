"""`docker compose up`: what it serves and scrapes, and how it is confined."""

import json

import httpx
import pytest

from atpn import Client
from tests import clips
from tests.deploy.files import ROOT
from tests.engine.compose import Compose, status_of, wait_for
from tests.engine.docker import DockerError, docker, inspected

pytestmark = pytest.mark.engine

PHOTO = ROOT / "tests" / "photos" / "astronaut.jpg"
#: Compose service -> a folder that it must not be able to write to.
CLOSED = {"atpn": "/opt/atpn", "proxy": "/usr/local/etc/haproxy", "redis": "/etc"}
UNSHARE = "import os; os.unshare(os.CLONE_NEWUSER)"


def test_every_container_is_healthy(compose: Compose) -> None:
    for service in compose.services:
        for container in compose.containers(service):
            assert inspected(container)["State"]["Health"]["Status"] == "healthy"


def test_a_photo_is_aligned_through_the_proxy(compose: Compose) -> None:
    with Client(compose.url) as client:
        (face,) = client.align(PHOTO, pose=True).faces
    assert face.confidence > 0.9


def test_a_clip_is_tracked_through_the_proxy_with_one_id(compose: Compose) -> None:
    with Client(compose.url) as client:
        frames = list(client.track(clips.panning(60)))
    assert [frame.seq for frame in frames] == list(range(1, 61))
    assert {face.track_id for frame in frames for face in frame.faces} == {1}
    assert {frame.state for frame in frames} == {"detected", "tracked"}


def test_metrics_are_not_for_everybody(compose: Compose) -> None:
    assert httpx.get(f"{compose.url}/metrics", trust_env=False).status_code == 404


def test_prometheus_scrapes_all_and_understands_the_rules(compose: Compose) -> None:
    if "prometheus" not in compose.services:
        pytest.skip("no image of Prometheus here, and none can be pulled")
    wait_for(lambda: len(compose.series("up == 1")) == 4, "not every target is up")
    answer = httpx.get(f"{compose.prometheus}/api/v1/rules", trust_env=False).json()
    health = {rule["health"] for group in answer["data"]["groups"] for rule in group["rules"]}
    assert health
    assert health <= {"ok", "unknown"}


def test_containers_are_confined_as_the_file_says(compose: Compose) -> None:
    for service in compose.services:
        for container in compose.containers(service):
            host = inspected(container)["HostConfig"]
            assert host["ReadonlyRootfs"], container
            assert host["CapDrop"] == ["ALL"], container
            assert not host["CapAdd"], container
            assert not host["Privileged"], container
            assert host["SecurityOpt"] == ["no-new-privileges:true"], container
            assert host["Memory"] > 0, container
            assert host["PidsLimit"] > 0, container


def test_what_runs_is_no_root_and_has_no_capabilities(compose: Compose) -> None:
    for service in compose.services:
        for container in compose.containers(service):
            status = status_of(container)
            assert "0" not in status["Uid"].split(), container
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, container
            assert status["NoNewPrivs"] == "1", container


def test_the_engines_own_seccomp_filter_is_on(compose: Compose) -> None:
    options = json.loads(docker("info", "--format", "{{json .SecurityOptions}}"))
    if not any("seccomp" in option for option in options):
        pytest.skip("this engine has no seccomp")
    for service in compose.services:
        for container in compose.containers(service):
            assert status_of(container)["Seccomp"] == "2", container
    (replica, _) = compose.containers("atpn")
    with pytest.raises(DockerError, match=r"PermissionError|Operation not permitted"):
        docker("exec", replica, "python", "-c", UNSHARE)


@pytest.mark.parametrize("service", CLOSED)
def test_nothing_can_be_written_but_to_what_is_forgotten(compose: Compose, service: str) -> None:
    container = compose.containers(service)[0]
    for folder in ("/", CLOSED[service]):
        with pytest.raises(DockerError, match="Read-only file system"):
            docker("exec", container, "sh", "-c", f"echo x > {folder}/new")


def test_a_replica_may_write_to_its_tmp(compose: Compose) -> None:
    (replica, _) = compose.containers("atpn")
    docker("exec", replica, "sh", "-c", "echo x > /tmp/new && rm /tmp/new")


def test_replicas_and_redis_have_no_way_out(compose: Compose) -> None:
    assert inspected(compose.network)["Internal"]
    for service in ("atpn", "redis"):
        for container in compose.containers(service):
            routes = docker("exec", container, "cat", "/proc/net/route").splitlines()[1:]
            assert all(line.split()[1] != "00000000" for line in routes), container
            assert not inspected(container)["HostConfig"]["PortBindings"], container

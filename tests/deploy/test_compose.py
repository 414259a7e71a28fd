"""compose.yaml: what it promises about safety, names and times, against the code."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import rehearse
from tests.deploy.files import (
    DOCKERFILE,
    K8S,
    MONITORING,
    ROOT,
    SETTINGS,
    accepted,
    bounds,
    document,
)

DOCKER = ROOT / "docker"
COMPOSE = document(DOCKER / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("atpn", "atpn-gpu")


def defaults(text: str) -> str:
    """``${NAME:-default}`` as Compose fills it where NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_docker_compose_up_in_the_projects_folder_starts_everything() -> None:
    assert document(ROOT / "compose.yaml") == {"include": ["docker/compose.yaml"]}
    started = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert started == {"atpn", "proxy", "redis", "prometheus", "grafana"}
    assert SERVICES["atpn"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined_limited_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_every_foreign_image_has_a_version_and_a_health_check(name: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_the_service_accepts(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert set(environment) <= SETTINGS
    for setting, value in environment.items():
        assert accepted(setting, defaults(value)) is not None


def test_memory_is_bounded_as_on_kubernetes() -> None:
    assert SERVICES["atpn"]["deploy"]["resources"]["limits"]["memory"] == "2G"
    assert bounds().items() <= SERVICES["atpn"]["environment"].items()
    gpu = SERVICES["atpn-gpu"]["environment"]
    (container,) = document(K8S / "overlays" / "gpu" / "deployment.yaml")["spec"]["template"][
        "spec"
    ]["containers"]
    overlay = {v["name"]: v["value"] for v in container["env"]}
    assert (bounds() | overlay).items() <= gpu.items()


@pytest.mark.parametrize("name", OURS)
def test_a_replica_is_given_the_time_that_it_takes_to_drain(name: str) -> None:
    """It lingers, then streams have drain_s to end, then open requests have drain_s + 1."""
    linger_s, drain_s = (
        float(SERVICES[name]["environment"][f"ATPN_{part}_S"]) for part in ("LINGER", "DRAIN")
    )
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > linger_s + 2 * drain_s + 1


@pytest.mark.parametrize("name", OURS)
def test_an_image_is_built_from_a_target_of_the_dockerfile(name: str) -> None:
    build = SERVICES[name]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
    assert build["target"] in rehearse.stages_of(DOCKERFILE.read_text())
    assert SERVICES[name]["image"] == f"atpn:{build['target']}"


def test_redis_is_reached_by_the_replicas_alone_and_only_with_its_password() -> None:
    redis = SERVICES["redis"]
    assert "ports" not in redis
    assert redis["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    password = defaults(redis["environment"]["REDISCLI_AUTH"])
    assert '--requirepass "$$REDISCLI_AUTH"' in redis["command"][-1]
    for name in OURS:
        url = defaults(SERVICES[name]["environment"]["ATPN_REDIS_URL"])
        assert url == f"redis://:{password}@redis:6379/0"


def test_ports_are_published_on_the_loopback_interface_by_default() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(defaults(port).startswith("127.0.0.1:") for port in published)


def test_every_value_that_can_be_changed_stands_in_the_example_with_its_default() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (DOCKER / "compose.yaml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert used == dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))


@pytest.mark.tools
def test_the_example_says_which_of_the_two_files_reads_it(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    for name in ("compose.yaml", "docker/compose.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".env").write_text("PUBLISH_ADDRESS=10.9.8.7\n")

    def told(*options: str) -> str:
        command = [str(tools / "docker-compose"), *options, "config"]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    assert "10.9.8.7" in told()
    assert "10.9.8.7" not in told("-f", "docker/compose.yaml")
    assert "10.9.8.7" in told("--env-file", ".env", "-f", "docker/compose.yaml")
    assert "--env-file .env -f docker/compose.yaml" in (ROOT / ".env.example").read_text()


def test_every_file_that_is_mounted_is_there_and_read_only() -> None:
    mounts = [m for s in SERVICES.values() for m in s.get("volumes", []) if m.startswith(".")]
    assert mounts
    assert all(mount.endswith(":ro") for mount in mounts)
    assert [m for m in mounts if not (DOCKER / m.split(":")[0]).exists()] == []


def test_the_proxy_and_prometheus_look_for_the_replicas_by_the_name_and_port_they_have() -> None:
    exposed = rehearse.stages_of(DOCKERFILE.read_text())["cpu"].last("EXPOSE")
    assert exposed is not None
    proxy = (DOCKER / "haproxy" / "haproxy.cfg").read_text()
    assert f"presetenv PROXY_REPLICAS   atpn:{exposed.rest}" in proxy
    assert "httpchk GET /readyz" in proxy
    (job,) = [
        job
        for job in document(MONITORING / "prometheus.yml")["scrape_configs"]
        if job["job_name"] == "atpn"
    ]
    (found,) = job["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["atpn"], int(exposed.rest))
    assert SERVICES["atpn-gpu"]["networks"]["inside"]["aliases"] == ["atpn"]


def test_the_proxy_waits_longer_than_the_service_lets_a_stream_be_silent() -> None:
    proxy = (DOCKER / "haproxy" / "haproxy.cfg").read_text()
    tunnel = re.search(r"timeout tunnel (\d+)m", proxy)
    assert tunnel
    idle_s = accepted("ATPN_STREAM_IDLE_S", "300")
    assert isinstance(idle_s, float)
    assert int(tunnel[1]) * 60 > idle_s


@pytest.mark.tools
@pytest.mark.parametrize("profile", ["", "gpu"])
def test_compose_itself_accepts_the_file(profile: str, tools: Path) -> None:
    subprocess.run(
        [tools / "docker-compose", "--profile", profile, "config", "--quiet"], cwd=ROOT, check=True
    )


@pytest.mark.tools
def test_haproxy_itself_accepts_its_configuration() -> None:
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed (apt-get install haproxy)")
    done = subprocess.run(
        [haproxy, "-c", "-f", DOCKER / "haproxy" / "haproxy.cfg"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr

"""The Kubernetes manifests: rendered, checked against schemas, and against the code's names."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import rehearse
from atpn.api.gate import OPEN_PATHS
from atpn.app import create_app
from atpn.settings import PREFIX, Settings
from tests.deploy.files import (
    DOCKERFILE,
    K8S,
    MONITORING,
    ROOT,
    SETTINGS,
    Document,
    accepted,
    bounds,
    document,
)

VERSIONS = ("1.36", "1.37")
QUEUE_TIME = K8S / "components" / "queue-time"
APPLIED = ("overlays/cpu", "overlays/gpu", "examples/kserve", "examples/triton")
#: Kinds whose schemas come with an operator: their structure is checked here.
CUSTOM = ("InferenceService", "ServiceMonitor", "PrometheusRule")
#: The address of another inference server.
ENGINE = "ATPN_ENGINE"

MANIFESTS = sorted(
    path
    for path in K8S.rglob("*.yaml")
    if path.name not in {"kustomization.yaml", "kserve.yaml", "rules.yaml"}
)


def base(kind: str) -> Document:
    """The base's only document of a kind."""
    return document(K8S / "base" / f"{kind.lower()}.yaml")


BOUNDS = bounds()


def pods(manifest: Document) -> Document:
    """The pod's part of a Deployment or an InferenceService."""
    if manifest["kind"] == "InferenceService":
        found: Document = manifest["spec"]["predictor"]
    else:
        found = manifest["spec"]["template"]["spec"]
    return found


def path_name(path: Path) -> str:
    return str(path.relative_to(K8S))


WORKLOADS = [
    path
    for path in MANIFESTS
    if document(path)["kind"] in {"Deployment", "InferenceService"}
    and "image" in pods(document(path))["containers"][0]
]


def ours(manifest: Document) -> Document | None:
    """The container that runs the service, if there is one."""
    return next((c for c in pods(manifest)["containers"] if c.get("image") == "atpn"), None)


@pytest.mark.parametrize("path", MANIFESTS, ids=path_name)
def test_a_file_holds_one_kind_and_is_named_after_it(path: Path) -> None:
    manifests = list(yaml.safe_load_all(path.read_text()))
    assert len(manifests) == 1
    if path.name != "engine.yaml":
        assert path.stem == manifests[0]["kind"].lower()


@pytest.mark.parametrize("folder", sorted({p.parent for p in MANIFESTS}), ids=path_name)
def test_every_manifest_is_listed_by_its_kustomization(folder: Path) -> None:
    listed = document(folder / "kustomization.yaml")
    named = set(listed.get("resources", [])) | {p["path"] for p in listed.get("patches", [])}
    assert {p.name for p in folder.glob("*.yaml")} - named <= {"kustomization.yaml", "kserve.yaml"}


@pytest.mark.parametrize("path", WORKLOADS, ids=path_name)
def test_every_container_is_confined_and_limited(path: Path) -> None:
    pod = pods(document(path))
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("path", WORKLOADS, ids=path_name)
def test_no_variables_of_services_reach_a_pod(path: Path) -> None:
    """A Service named atpn would set ATPN_PORT and more, which the service refuses."""
    assert pods(document(path))["enableServiceLinks"] is False


@pytest.mark.parametrize("path", [p for p in WORKLOADS if ours(document(p))], ids=path_name)
def test_probes_ask_for_routes_that_the_service_has_on_the_port_it_listens_on(path: Path) -> None:
    routes = set(create_app(Settings()).openapi()["paths"])
    container = ours(document(path))
    assert container is not None
    exposed = rehearse.stages_of(DOCKERFILE.read_text())["cpu"].last("EXPOSE")
    assert exposed is not None
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert list(ports.values()) == [int(exposed.rest)] == [Settings().port]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in routes
        assert ports.get(asked["port"], asked["port"]) == int(exposed.rest)
    assert "ready" in container["readinessProbe"]["httpGet"]["path"]
    assert "ready" not in container["livenessProbe"]["httpGet"]["path"]


@pytest.mark.parametrize("path", [p for p in WORKLOADS if ours(document(p))], ids=path_name)
def test_a_pod_is_given_the_time_to_warm_up_and_to_drain(path: Path) -> None:
    pod, container = pods(document(path)), ours(document(path))
    assert container is not None
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
    drain_s = float(dict(environment())["ATPN_DRAIN_S"])
    needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + 2 * drain_s + 1
    assert pod["terminationGracePeriodSeconds"] > needed


def environment() -> Iterator[tuple[str, str]]:
    """Every variable of the service that any manifest sets."""
    yield from base("ConfigMap")["data"].items()
    yield from base("Secret")["stringData"].items()
    for path in MANIFESTS:
        if document(path)["kind"] in {"Deployment", "InferenceService"}:
            for container in pods(document(path))["containers"]:
                for variable in container.get("env", []):
                    if variable["name"].startswith(PREFIX):
                        yield variable["name"], variable["value"]


@pytest.mark.parametrize(("name", "value"), sorted(set(environment())))
def test_every_setting_is_one_that_the_service_accepts(name: str, value: str) -> None:
    assert name in SETTINGS
    assert accepted(name, value) is not None


@pytest.mark.parametrize("path", [p for p in WORKLOADS if ours(document(p))], ids=path_name)
def test_memory_is_bounded_by_the_same_settings_wherever_it_is_limited(path: Path) -> None:
    container = ours(document(path))
    assert container is not None
    assert container["resources"]["limits"]["memory"] == "2Gi"
    sources = container.get("envFrom", [])
    given = {v["name"]: v["value"] for v in container.get("env", [])}
    if {"configMapRef": {"name": "atpn"}} in sources:
        given |= base("ConfigMap")["data"]
    assert BOUNDS.items() <= given.items()


def test_another_engine_is_set_by_the_triton_example_alone() -> None:
    naming = [path_name(p) for p in K8S.rglob("*.yaml") if ENGINE in p.read_text()]
    assert naming == ["examples/triton/engine.yaml"]
    (variable,) = pods(document(K8S / naming[0]))["containers"][0]["env"]
    service = document(K8S / "examples" / "triton" / "service.yaml")
    port = service["spec"]["ports"][0]["port"]
    assert variable["value"] == f"oip+http://{service['metadata']['name']}:{port}"


def test_triton_is_given_the_folder_of_the_model_that_is_a_triton_repository() -> None:
    (init,) = pods(document(K8S / "examples" / "triton" / "deployment.yaml"))["initContainers"]
    script = init["command"][-1]
    assert 'shipped_models() / "atpn", "/models/atpn"' in script
    imports = [line for line in script.splitlines() if line.startswith(("import", "from"))]
    subprocess.run([sys.executable, "-c", "\n".join(imports)], check=True)
    assert "dirs_exist_ok=True" in script  # the container may run again over what it has copied
    config = (ROOT / "models" / "artifacts" / "atpn" / "config.pbtxt").read_text()
    assert 'name: "atpn"' in config


def test_probes_ask_what_needs_no_key() -> None:
    for name in ("base/deployment.yaml", "examples/kserve/inferenceservice.yaml"):
        asked = re.findall(r"httpGet: {path: ([^,}]+),", (K8S / name).read_text())
        assert len(asked) == 3
        assert set(asked) <= OPEN_PATHS, name


def test_the_gpu_overlay_asks_for_a_gpu_and_runs_the_image_for_it() -> None:
    patch = pods(document(K8S / "overlays" / "gpu" / "deployment.yaml"))
    assert patch["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for target in ("cpu", "gpu"):
        (image,) = document(K8S / "overlays" / target / "kustomization.yaml")["images"]
        assert image == {"name": "atpn", "newName": "atpn", "newTag": target}


def test_the_service_uses_the_password_and_address_of_the_redis_for_development() -> None:
    folder = K8S / "components" / "redis"
    service = document(folder / "service.yaml")
    password = document(folder / "secret.yaml")["stringData"]["password"]
    host, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    url = base("Secret")["stringData"]["ATPN_REDIS_URL"]
    assert url == f"redis://:{password}@{host}:{port}/0"
    allowed = [rule["ports"] for rule in base("NetworkPolicy")["spec"]["egress"]]
    assert [{"port": port, "protocol": "TCP"}] in allowed


def test_name_servers_are_reached_as_pods_and_as_the_cache_of_the_node() -> None:
    (names,) = [
        rule
        for rule in base("NetworkPolicy")["spec"]["egress"]
        if {"port": 53, "protocol": "UDP"} in rule["ports"]
    ]
    assert names["to"] == [
        {"namespaceSelector": {}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},  # NodeLocal DNSCache
    ]


def test_redis_has_the_same_configuration_as_under_compose() -> None:
    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    config = document(K8S / "components" / "redis" / "configmap.yaml")["data"]["redis.conf"]
    assert lines(config) == lines((ROOT / "docker" / "redis.conf").read_text())


def test_secrets_say_that_they_are_examples() -> None:
    secrets = [path for path in MANIFESTS if path.name == "secret.yaml"]
    assert len(secrets) == 2
    assert all(path.read_text().startswith("# AN EXAMPLE, to be replaced") for path in secrets)


def test_selectors_find_the_pods_of_the_service() -> None:
    labels = base("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        base("Deployment")["spec"]["selector"]["matchLabels"],
        base("Service")["spec"]["selector"],
        base("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        base("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pods(base("Deployment"))["topologySpreadConstraints"]
        ),
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_the_autoscaler_reads_the_metric_that_the_adapter_makes_and_the_cpu() -> None:
    (rule,) = document(K8S / "prometheus-adapter" / "rules.yaml")["rules"]
    queue, cpu = document(QUEUE_TIME / "horizontalpodautoscaler.yaml")["spec"]["metrics"]
    assert queue["pods"]["metric"]["name"] == rule["name"]["as"]
    assert [cpu] == base("HorizontalPodAutoscaler")["spec"]["metrics"]


@pytest.mark.tools
def test_no_overlay_scales_on_a_metric_that_a_cluster_may_not_have(tools: Path) -> None:
    """Kubernetes does not scale down while one is missing."""
    for folder in APPLIED:
        for manifest in rendered(folder, tools):
            if manifest["kind"] == "HorizontalPodAutoscaler":
                assert [m["type"] for m in manifest["spec"]["metrics"]] == ["Resource"]


def test_the_operator_gets_the_rules_that_prometheus_gets_under_compose() -> None:
    rules = document(K8S / "components" / "monitoring" / "prometheusrule.yaml")
    assert rules["spec"] == document(MONITORING / "alerts.yml"), "copy monitoring/alerts.yml"


def test_the_operator_scrapes_the_port_and_path_of_the_service() -> None:
    monitor = document(K8S / "components" / "monitoring" / "servicemonitor.yaml")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in base("Service")["spec"]["ports"]}
    assert endpoint["path"] in create_app(Settings()).openapi()["paths"]
    selected = monitor["spec"]["selector"]["matchLabels"]
    (labels,) = document(K8S / "base" / "kustomization.yaml")["labels"]
    assert selected.items() <= labels["pairs"].items()


def structure(manifest: Document) -> bool:
    """Whether an operator's kind has the parts that the operator needs."""
    expected: dict[str, tuple[str, Callable[[Document], object]]] = {
        "ServiceMonitor": (
            "monitoring.coreos.com/v1",
            lambda spec: spec["selector"]["matchLabels"] and spec["endpoints"][0]["port"],
        ),
        "PrometheusRule": (
            "monitoring.coreos.com/v1",
            lambda spec: all(g["name"] and g["rules"] for g in spec["groups"]),
        ),
        "InferenceService": (
            "serving.kserve.io/v1beta1",
            lambda spec: spec["predictor"]["containers"][0]["name"] == "kserve-container",
        ),
    }
    version, holds = expected[manifest["kind"]]
    return manifest["apiVersion"] == version and bool(holds(manifest["spec"]))


def rendered(folder: str, tools: Path) -> list[Document]:
    """What `kubectl apply -k` would send."""
    done = subprocess.run(
        [tools / "kubectl", "kustomize", K8S / folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.tools
@pytest.mark.parametrize("folder", APPLIED)
def test_every_kind_passes_the_schemas_of_two_versions(folder: str, tools: Path) -> None:
    import kubernetes_validate  # noqa: PLC0415 - only with the extra `deploy`

    for manifest in rendered(folder, tools):
        if manifest["kind"] in CUSTOM:
            assert structure(manifest)
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.tools
@pytest.mark.parametrize("folder", APPLIED)
def test_every_image_is_rendered_with_a_tag(folder: str, tools: Path) -> None:
    images = re.findall(r"'image': '([^']+)'", str(rendered(folder, tools)))
    assert images
    assert all(":" in image for image in images)


@pytest.mark.tools
def test_the_components_render_with_an_overlay(tools: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (tmp_path / "k8s").symlink_to(K8S)
    listed: dict[str, Any] = {
        "resources": [str(Path("..") / "k8s" / "overlays" / "cpu")],
        "components": [
            str(Path("..") / "k8s" / "components" / name) for name in ("monitoring", "queue-time")
        ],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(listed))
    found = {manifest["kind"]: manifest for manifest in rendered(str(overlay), tools)}
    assert "Deployment" in found
    assert structure(found["ServiceMonitor"])
    assert structure(found["PrometheusRule"])
    scaled_on = [m["type"] for m in found["HorizontalPodAutoscaler"]["spec"]["metrics"]]
    assert scaled_on == ["Pods", "Resource"]

"""Dashboard, rules and alerts: valid, tested, and about metrics that the service has."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from atpn.errors import Overloaded, TooManyStreams
from tests.conftest import FakeServiceFactory
from tests.deploy.files import K8S, MONITORING, ROOT, document
from tests.server import running

PHOTO = (ROOT / "tests" / "photos" / "astronaut.jpg").read_bytes()

DASHBOARD: dict[str, Any] = json.loads(
    (MONITORING / "grafana" / "dashboards" / "atpn.json").read_text()
)
RULES = [rule for group in document(MONITORING / "alerts.yml")["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
SUFFIXES = {
    "counter": ["_total"],
    "gauge": [""],
    "histogram": ["_bucket", "_sum", "_count"],
}
#: Labels that Prometheus adds, and a histogram's own.
ADDED = {"instance", "job", "namespace", "pod", "le"}


def panels() -> list[dict[str, Any]]:
    """Every panel that shows something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def plain(expression: str) -> str:
    """A dashboard's expression as Prometheus gets it."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


def expressions() -> Iterator[str]:
    """Everything that Prometheus is asked: by dashboard, rules and autoscaler."""
    for panel in panels():
        for target in panel["targets"]:
            yield plain(target["expr"])
    for rule in RULES:
        yield rule["expr"]
    (adapted,) = document(K8S / "prometheus-adapter" / "rules.yaml")["rules"]
    yield adapted["metricsQuery"].replace("<<.LabelMatchers>>", "").replace("<<.GroupBy>>", "pod")


async def test_every_metric_and_label_that_is_asked_for_is_one_of_the_service(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service()
    text = (await fake.client.get("/metrics")).text
    types = {family.name: family.type for family in text_string_to_metric_families(text)}
    samples = {name + suffix for name, kind in types.items() for suffix in SUFFIXES.get(kind, [])}
    metrics = {m for e in expressions() for m in re.findall(r"\batpn_\w+", e)}
    assert len(metrics) > 15
    assert metrics - samples == set()


async def test_every_label_that_is_asked_for_is_one_of_its_metric(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service()
    names = {
        metric._name: set(metric._labelnames) | ADDED
        for metric in vars(fake.core.metrics).values()
        if hasattr(metric, "_labelnames")
    }
    for expression in expressions():
        for metric, matchers in re.findall(r"(atpn_\w+)\{([^}]*)\}", expression):
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            name = re.sub(r"_(total|bucket|sum|count)$", "", metric)
            assert asked <= names[name], expression


def test_recorded_series_that_alerts_use_are_recorded() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    used = {name for rule in ALERTS for name in re.findall(r"atpn:[\w:]+", rule["expr"])}
    assert used == recorded


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_has_a_severity_a_summary_and_a_runbook_that_exists(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["summary"]
    file, _, heading = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (\w+)$", (ROOT / file).read_text(), re.MULTILINE)
    assert heading in {name.lower() for name in headings}
    assert alert["alert"] in headings


def test_every_alert_is_seen_to_fire_by_a_unit_test() -> None:
    tests = document(MONITORING / "alerts.test.yml")["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", [])
        if case.get("exp_alerts")
    }
    assert fired == {alert["alert"] for alert in ALERTS}


def test_every_code_that_an_alert_is_about_is_an_errors_and_fed_to_it_by_a_unit_test() -> None:
    asked = {
        code
        for alert in ALERTS
        for codes in re.findall(r'code=~?"([^"]+)"', alert["expr"])
        for code in codes.split("|")
    }
    assert asked == {Overloaded.code, TooManyStreams.code}
    fires = [
        (case, series["series"])
        for test in document(MONITORING / "alerts.test.yml")["tests"]
        for case in test.get("alert_rule_test", [])
        for series in test["input_series"]
    ]
    for code in asked:
        assert any(
            f'code="{code}"' in series
            and any(alert["exp_labels"].get("code") == code for alert in case.get("exp_alerts", []))
            for case, series in fires
        )


def test_the_dashboard_is_readable() -> None:
    """Panels have titles and units, do not overlap, and their ids are their own."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


def test_the_dashboard_uses_a_source_that_can_be_chosen() -> None:
    sources = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} | {
        panel["datasource"]["uid"] for panel in panels()
    }
    assert sources == {"${datasource}"}
    assert {v["name"] for v in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}


@pytest.fixture(scope="module")
def promtool(tools: Path) -> str:
    """Prometheus' own checker, from Debian's package; `.ci/promtool` fetches it."""
    found = shutil.which("promtool", path=f"{os.environ['PATH']}:{tools}")
    if found is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    return found


def run(*command: str | Path) -> None:
    """Run a checker; what it says is the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tools
def test_prometheus_accepts_its_configuration_and_rules(promtool: str) -> None:
    run(promtool, "check", "config", MONITORING / "prometheus.yml")
    run(promtool, "check", "rules", MONITORING / "alerts.yml")


@pytest.mark.tools
def test_every_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    run(promtool, "test", "rules", MONITORING / "alerts.test.yml")


@pytest.mark.tools
def test_prometheus_can_read_every_expression(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"check:{i}", "expr": e} for i, e in enumerate(expressions())]
    assert len(rules) > 40
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    run(promtool, "check", "rules", path)


@pytest.mark.tools
def test_prometheus_finds_nothing_wrong_with_the_metrics(promtool: str) -> None:
    with running() as server:
        url = f"{server.url}/align"
        assert httpx.post(url, content=PHOTO, headers={"content-type": "image/jpeg"}).is_success
        assert httpx.post(url, content=b"", headers={"content-type": "image/jpeg"}).is_error
        text = httpx.get(f"{server.url}/metrics").text
    assert 'atpn_errors_total{code="' in text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

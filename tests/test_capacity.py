"""The capacity plan: its tables are current, and its arithmetic is what the page says."""

import re

import pytest
from loadtests import capacity, saving, workloads
from loadtests.capacity import Figures, Plan

from atpn.geometry import CROP_SIZE
from tests.deploy.files import K8S, document
from tests.stores import redis_server

PERFORMANCE = capacity.PAGE.with_name("performance.md")
CORES = 2  # on which it was measured


def test_the_pages_tables_are_those_of_the_script() -> None:
    page = capacity.PAGE.read_text()
    assert page == capacity.written(page, Figures()), "python -m loadtests.capacity --write"


def test_the_page_names_the_figures_it_rests_on() -> None:
    page, figures = capacity.PAGE.read_text(), Figures()
    for shown in (
        f"{figures.frame_cpu_ms} ms",
        f"{figures.network_cpu_ms} ms",
        f"{figures.frame_bytes / 1000:g} kB, {figures.answer_bytes / 1000:.1f} kB",
        f"{figures.redis_cpu_us:g} µs of Redis' core, {capacity.save_bytes()} bytes in",
        f"{figures.redis_session_bytes} bytes",
        f"{figures.use:.0%}".replace("%", " %"),
    ):
        assert f"| {shown}" in page
    assert "**an assumption, not measured**" in page


def test_the_networks_time_is_that_of_the_performance_table() -> None:
    [row] = [line for line in PERFORMANCE.read_text().splitlines() if line.startswith("| E_core")]
    rate = float(re.findall(r"(\d+)(?: \([^)]*\))? faces/s", row)[-1])  # of bare session.run
    assert Figures().network_cpu_ms == pytest.approx(1000 * CORES / rate, rel=0.05)


def test_twice_the_streams_need_twice_of_everything() -> None:
    one, two = Plan(50_000, Figures()), Plan(100_000, Figures())
    for name in ("cores", "replicas", "gpus", "front_cores", "redis_mb_per_s", "gbit_in"):
        assert getattr(two, name) == pytest.approx(2 * getattr(one, name), rel=0.01)


def test_a_core_is_not_planned_beyond_its_use() -> None:
    plan = Plan(100, Figures(fps=10, frame_cpu_ms=10, use=0.5))
    assert plan.cores == 20  # 1000 frames/s of 10 ms are 10 cores, half used
    assert plan.replicas == 10


def test_there_are_two_replicas_even_for_one_stream() -> None:
    assert Plan(1, Figures()).replicas == 2


def test_the_plan_is_about_the_replicas_and_crops_that_there_are() -> None:
    pod = document(K8S / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["cpu"] == str(Figures().replica_cores)
    assert Figures().crop_bytes == CROP_SIZE**2 * 3


async def test_the_bytes_of_a_saved_frame_are_those_that_redis_counts() -> None:
    with redis_server() as server:
        cost = await saving.measured(server.url, streams=4, frames=25)
    assert cost.save_bytes == capacity.save_bytes()
    assert cost.save_cpu_us > 0
    assert cost.session_bytes > len(capacity.state())


def test_a_second_face_makes_a_state_longer() -> None:
    assert len(capacity.state(faces=2)) > len(capacity.state())


def test_the_measured_bytes_of_a_frame_are_those_of_the_measurements_picture() -> None:
    assert len(workloads.picture()) == pytest.approx(Figures().frame_bytes, rel=0.05)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0421, "0.042"), (3.27, "3.3"), (42, "42"), (4154, "4 200"), (30_000_000.0, "30 000 000")],
)
def test_numbers_are_shown_with_the_figures_that_count(value: float, shown: str) -> None:
    assert capacity.number(value) == shown


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    page = re.sub("begin: scales", "begin: other", capacity.PAGE.read_text())
    with pytest.raises(ValueError, match="no place for the table 'scales'"):
        capacity.written(page, Figures())


async def test_a_measurement_gives_a_streams_figures() -> None:
    found = await capacity.measured(frames=8, streams=2)
    assert found["frame_cpu_ms"] > 0
    assert found["answer_bytes"] > 1000
    assert found["frame_bytes"] == len(workloads.picture())

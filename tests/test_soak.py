"""A soak of some seconds passes, and one of a service that leaks or fails does not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from loadtests import soak
from loadtests.client import p99
from loadtests.figures import draw_soak
from loadtests.mixture import bad_requests, one_round
from loadtests.soak import PICTURE, Sample, verdicts
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.loopback import served

SAMPLE = Sample(1.0, 150.0, 20, 14, 40.0, 50.0, 700, 0, False)


def samples(change: Callable[[Sample, int], Sample]) -> list[Sample]:
    """Forty rounds, each changed by its number."""
    return [change(replace(SAMPLE, minute=i / 2), i) for i in range(40)]


def test_a_soak_of_some_seconds_passes_and_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert soak.main(["--hours", "0.0012", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "soak.json").read_text())
    assert len(rows) >= 2
    assert all(row["errors"] == 0 and row["answers"] > 10 for row in rows)
    assert all(row["memory_mib"] > 50 and row["files"] > 5 and row["threads"] > 2 for row in rows)
    assert (tmp_path / "soak.svg").read_text().endswith("</svg>\n")
    assert "| memory_mib |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("memory_mib", lambda s, i: replace(s, memory_mib=s.memory_mib + 0.5 * i)),
        ("files", lambda s, i: replace(s, files=s.files + i // 5)),
        ("threads", lambda s, i: replace(s, threads=s.threads + i // 8)),
        ("frames_p99_ms", lambda s, i: replace(s, frames_p99_ms=50.0 + i * i)),
    ],
)
def test_each_series_that_grows_fails(name: str, change: Callable[[Sample, int], Sample]) -> None:
    found = verdicts(samples(change))
    assert [each for each, verdict in found.items() if verdict.grows] == [name]
    assert not any(v.grows for v in verdicts(samples(lambda s, _: s)).values())


@pytest.mark.parametrize("status", [200, 500])
async def test_whatever_is_not_answered_as_it_should_be_is_told(status: int) -> None:
    async def answer(_: Request) -> Response:
        return Response(b"{}", status)

    paths = ["/align", "/align/batch", "/nowhere"]
    app = Starlette(routes=[Route(path, answer, methods=["POST"]) for path in paths])
    with served(app) as url:
        seen = await one_round(int(url.rpartition(":")[2]), 2.0)
    words = {word.partition(":")[0] for word in seen.errors}
    assert "/track" in words  # it has none
    assert set(bad_requests()) <= words
    assert ("/align" in words) == (status == 500)
    assert (len(seen.photos_ms) > 0) == (status == 200)


def test_the_slowest_of_a_hundred_is_the_p99() -> None:
    assert p99([*map(float, range(100))]) == 99
    assert p99([]) == 0


def test_a_picture_of_hours_is_small(tmp_path: Path) -> None:
    rows = [vars(sample) for sample in samples(lambda s, i: replace(s, redis_was_gone=i % 8 == 7))]
    draw_soak(rows * 6, 0.25, tmp_path / "long.svg")
    assert (tmp_path / "long.svg").stat().st_size < 150_000
    assert PICTURE.stat().st_size < 150_000

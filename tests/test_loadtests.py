"""The measuring command runs and gives all its figures."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from loadtests import client, measure


def numbers(value: Any) -> list[float]:
    """All numbers in nested dicts."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def test_one_run_prints_all_figures_and_every_answer_was_a_face(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command fails if a single answer to its load is not a 200 with a face."""
    written = tmp_path / "figures.json"
    short = ["--seconds", "0.1", "--repeats", "1", "--batches", "1", "4"]
    measure.main([*short, "--json", str(written)])
    printed = capsys.readouterr().out
    result = json.loads(written.read_text())
    figures = result["core"] | result["jpeg"] | result["overhead"] | result["large"]
    for name in ("E_core", "E_jpeg", "E_jpeg_cpu", "O1", "L"):
        assert f"| {name} |" in printed
    for name in ("E_core", "E_jpeg", "E_jpeg_cpu", "L"):
        assert figures[name]["median"] > 0
    assert "client shares the cores" in printed
    assert figures["answers"] >= figures["connections"]
    # A difference of two times, so short a measurement can have it the wrong way round.
    assert math.isfinite(figures.pop("O1_ms")["median"])
    assert math.isfinite(figures["parts_ms"].pop("rest"))
    assert all(math.isfinite(n) and n >= 0 for n in numbers(figures))
    assert set(figures["parts_ms"]) == {"decode", "queue", "inference"}


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, b'{"confidence": 1}'), (200, b'{"faces": []}'), (200, b'"confidence" "confidence"')],
)
def test_the_load_counts_an_answer_that_is_not_200_with_one_face_as_failed(
    status: int, body: bytes
) -> None:
    tally = client.Tally()
    tally.add(status, body, 1.0, parse=True)
    assert tally.failed == 1

"""The measuring command runs and gives all its figures."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from loadtests import client, in_process, measure, signals


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
    for name in ("E_core", "E_jpeg", "O1", "L"):
        assert f"| {name} |" in printed
    for name in ("E_core", "E_jpeg", "L"):
        assert figures[name]["median"] > 0
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


def test_a_pair_is_measured_until_its_quartiles_are_narrow_or_patience_ends() -> None:
    quiet = measure.in_turn(3, lambda: 2.0, lambda: 1.0, lambda a, b: a / b)
    assert len(quiet) == 3
    settling = iter([1.0, 2.0, 3.0, *[2.0] * 9])
    rounds = measure.in_turn(3, lambda: next(settling), lambda: 1.0, lambda a, b: a / b)
    assert 3 < len(rounds) < 12
    noisy = itertools.count(1.0)
    rounds = measure.in_turn(3, lambda: next(noisy), lambda: 1.0, lambda a, b: a / b)
    assert len(rounds) == 3 * measure.PATIENCE


def test_a_spread_is_the_median_with_its_quartiles() -> None:
    assert measure.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}
    assert measure.spread([2.0]) == {"median": 2.0, "q1": 2.0, "q3": 2.0}


def test_the_cost_of_signals_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    signals.main(["--frames", "50", "--repeats", "1"])
    without, told = capsys.readouterr().out.splitlines()
    assert float(without.split()[2]) > 0
    assert told.startswith("with signals: ")


def test_the_library_is_measured_beside_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    in_process.main(["--seconds", "0.1", "--repeats", "1"])
    printed = capsys.readouterr().out
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in printed.splitlines()}
    for name in ("| cold", "| warm", "| photograph", "| frame"):
        assert all(float(figure.split(" ")[0]) > 0 for figure in rows[name])

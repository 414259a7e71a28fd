"""Measures the service against its own parts, in one run on one machine, as ratios.

``python loadtests/measure.py [--seconds 2] [--repeats 7] [--json FILE]``

What is divided by what is measured in turn (A, B, A, B, ...), so that a noisy machine disturbs
both, and again until the quartiles lie within NARROW of the median; figures are medians with their
quartiles.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

if not __package__:  # started as a file: make `loadtests` importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from atpn.engine.inference import FaceNetwork, ModelFile, available_cores
from atpn.geometry import Image
from atpn.settings import Settings, load_settings
from loadtests.served import Served, align_request, service
from loadtests.workloads import (
    FACE,
    bare_session,
    batcher_rate,
    face_crop,
    fastest,
    model_file,
    picture,
    pipeline_candidates,
    raw_candidates,
    run_median_ms,
    run_of,
    search_ms,
)

A = TypeVar("A")
B = TypeVar("B")
BATCHES = (1, 2, 4, 8, 16, 32)
MICRO_BATCH = 8  # the largest of decode + crop + run: its images wait for each other
LARGE = 6  # times the side of the other pictures: 3840x2880, 11 million pixels
NARROW = 0.1  # of the median, from the first to the third quartile
PATIENCE = 4  # times the repeats that are asked for; then a wide figure is told as it is
Spread = dict[str, float]  # median, quartiles
Figures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all figures are measured with."""

    seconds: float
    repeats: int
    batches: list[int]  # that the searches for the best setting try
    settings: Settings
    cores: int
    model: ModelFile
    network: FaceNetwork  # as the service runs it: one thread a run
    data: bytes  # the picture
    face: Image  # (112, 112, 3), its face

    @property
    def search_s(self) -> float:
        """How long each candidate of a search is tried."""
        return min(0.5, self.seconds / 8)

    @property
    def search_tries(self) -> int:
        """How often; the first try is also what warms a candidate up."""
        return min(2, self.repeats)

    @property
    def request(self) -> bytes:
        """The picture and its box as POST /align."""
        return align_request(self.data, (FACE.x0, FACE.y0, FACE.x1, FACE.y1))


def open_bench(seconds: float, repeats: int, batches: list[int]) -> Bench:
    """The service's settings and model, on the CPU."""
    settings = load_settings().model_copy(update={"device": "cpu"})
    cores = settings.threads or available_cores()
    model = model_file(settings)
    network = FaceNetwork(model, "cpu", threads=1)
    network.warm_up([1, settings.max_batch_size])
    data = picture()
    face = face_crop(data, settings.max_pixels)
    return Bench(seconds, repeats, batches, settings, cores, model, network, data, face)


def in_turn(
    repeats: int, above: Callable[[], A], below: Callable[[], B], figure: Callable[[A, B], float]
) -> list[tuple[A, B]]:
    """Both, alternating, at least ``repeats`` times and until the figure is narrow."""
    rounds: list[tuple[A, B]] = []
    while len(rounds) < repeats or (
        len(rounds) < PATIENCE * repeats and not narrow([figure(*each) for each in rounds])
    ):
        rounds.append((above(), below()))
    return rounds


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, middle, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "q1": q1, "q3": q3}


def narrow(values: Sequence[float]) -> bool:
    """Whether the quartiles lie close together."""
    found = spread(values)
    return found["q3"] - found["q1"] <= NARROW * abs(found["median"])


def measure_core(bench: Bench) -> Figures:
    """E_core: faces/s through the batcher / the bare network at its best."""
    candidates = raw_candidates(bench.model, bench.face, bench.cores, bench.batches)
    name, best = fastest(candidates, bench.search_s, bench.search_tries)
    full = partial(batcher_rate, bench.seconds, bench.network, bench.face, bench.settings)
    rounds = in_turn(
        bench.repeats,
        partial(full, bench.cores),
        partial(best, bench.seconds),
        lambda batcher, raw: batcher.per_s / raw.per_s,
    )
    return {
        "rounds": len(rounds),
        "E_core": spread([batcher.per_s / raw.per_s for batcher, raw in rounds]),
        "E_core_cpu": spread([batcher.per_cpu_s / raw.per_cpu_s for batcher, raw in rounds]),
        "batcher_faces_per_s": spread([batcher.per_s for batcher, _ in rounds]),
        "raw_faces_per_s": spread([raw.per_s for _, raw in rounds]),
        "raw_setting": name,
    }


def measure_jpeg(bench: Bench, served: Served) -> Figures:
    """E_jpeg: faces over HTTP per CPU second of the service / the same of decode + crop + run.

    CPU seconds, as the load runs on the same cores.
    """
    connections = min(8 * bench.cores, bench.settings.max_requests)
    load = partial(served.load, bench.request, connections)
    load(min(bench.seconds, 1.0))  # warm
    small = [batch for batch in bench.batches if batch <= MICRO_BATCH]
    candidates = pipeline_candidates(
        bench.network, bench.data, bench.settings.max_pixels, bench.cores, small
    )
    by_cpu = attrgetter("per_cpu_s")
    name, best = fastest(candidates, bench.search_s, bench.search_tries, by_cpu)
    rounds = in_turn(
        bench.repeats,
        partial(load, bench.seconds),
        partial(best, bench.seconds),
        lambda http, own: http.per_server_cpu_s / own.per_cpu_s,
    )
    loads = [http for http, _ in rounds]
    return {
        "rounds": len(rounds),
        "E_jpeg": spread([http.per_server_cpu_s / own.per_cpu_s for http, own in rounds]),
        "http_faces_per_server_cpu_s": spread([http.per_server_cpu_s for http in loads]),
        "pipeline_faces_per_cpu_s": spread([own.per_cpu_s for _, own in rounds]),
        "pipeline_setting": name,
        "connections": connections,
        "answers": sum(http.answers for http in loads),
        "client_cpu_ms_per_answer": spread([1000 * h.client_cpu_s / h.answers for h in loads]),
    }


def measure_overhead(bench: Bench, served: Served) -> Figures:
    """O1: median of one /align at a time - median of ``session.run`` at batch 1, in ms."""
    bare = run_of(bare_session(bench.model, 1), bench.face, 1)
    rounds = in_turn(
        bench.repeats,
        partial(served.load, bench.request, 1, bench.seconds),
        partial(run_median_ms, min(bench.seconds, 2.0), bare),
        lambda http, run: http.p50_ms - run,
    )
    names = rounds[0][0].parts_ms
    return {
        "rounds": len(rounds),
        "O1_ms": spread([http.p50_ms - run for http, run in rounds]),
        "align_p50_ms": spread([http.p50_ms for http, _ in rounds]),
        "run_p50_ms": spread([run for _, run in rounds]),
        "parts_ms": {
            name: statistics.median(http.parts_ms[name] for http, _ in rounds) for name in names
        },
    }


def measure_large(bench: Bench) -> Figures:
    """L: time to decode and search a large photograph / the same decoded at its own size."""
    rounds = search_ms(bench.settings, picture(LARGE), bench.repeats)
    return {
        "L": spread([reduced / whole for reduced, whole in rounds]),
        "reduced_ms": spread([reduced for reduced, _ in rounds]),
        "whole_ms": spread([whole for _, whole in rounds]),
    }


def table(result: Figures) -> str:
    """The figures for people, as a Markdown table."""
    core, jpeg, one = result["core"], result["jpeg"], result["overhead"]
    large = result["large"]

    def shown(values: Spread, form: str = ".0f") -> str:
        low, high = format(values["q1"], form), format(values["q3"], form)
        return f"{format(values['median'], form)} ({low} to {high})"

    parts = ", ".join(f"{name} {ms:.2f}" for name, ms in one["parts_ms"].items())
    rows = [
        ("figure", "median (quartiles)", "behind it, medians (quartiles)"),
        ("---", "---", "---"),
        (
            "E_core",
            shown(core["E_core"], ".2f"),
            f"batcher {shown(core['batcher_faces_per_s'])} faces/s / bare `session.run` "
            f"{shown(core['raw_faces_per_s'])} faces/s at its best: {core['raw_setting']};"
            f" by CPU seconds {shown(core['E_core_cpu'], '.2f')}",
        ),
        (
            "E_jpeg",
            shown(jpeg["E_jpeg"], ".2f"),
            f"service {shown(jpeg['http_faces_per_server_cpu_s'])} faces / CPU s on"
            f" {jpeg['connections']} connections, decode + crop + run in one process"
            f" {shown(jpeg['pipeline_faces_per_cpu_s'])} faces / CPU s at its most frugal:"
            f" {jpeg['pipeline_setting']}",
        ),
        (
            "O1",
            f"{shown(one['O1_ms'], '.2f')} ms",
            f"/align {shown(one['align_p50_ms'], '.2f')} ms - `session.run`"
            f" {shown(one['run_p50_ms'], '.2f')} ms; parts of /align in ms: {parts}",
        ),
        (
            "L",
            shown(large["L"], ".2f"),
            f"3840x2880 JPEG decoded and searched {shown(large['reduced_ms'])} ms"
            f" / decoded at its own size {shown(large['whole_ms'])} ms",
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def measure(bench: Bench) -> Figures:
    """All figures."""
    result: Figures = {
        "cores": bench.cores,
        "seconds": bench.seconds,
        "repeats": bench.repeats,
    }
    result["core"] = measure_core(bench)
    result["large"] = measure_large(bench)
    with service() as served:
        result["jpeg"] = measure_jpeg(bench, served)
        result["overhead"] = measure_overhead(bench, served)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the service as ratios.")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=7, help="of each pair, at least")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=BATCHES, help="that the best is searched among"
    )
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    args = parser.parse_args(arguments)
    result = measure(open_bench(args.seconds, args.repeats, list(args.batches)))
    rounds = [result[name]["rounds"] for name in ("core", "jpeg", "overhead")]
    print(
        f"{result['cores']} core(s), {min(rounds)} to {max(rounds)} rounds of {args.seconds:g} s\n"
    )
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

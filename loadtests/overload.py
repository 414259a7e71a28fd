"""Overload, drawn: what is answered in time, and how fast, from half to four times the capacity.

    python -m loadtests.overload [--seconds 2.5] [--rounds 2] [--write] [--add]

A capacity is what 16 clients, each of which waits for its answer, get in a second. Then requests
come at their times, and callers hang up after half a second. Photographs are asked of atpn as it
comes, of atpn with a rate limit of its capacity, and of the script; streams of atpn alone, and of
atpn with a limit that lets in no more streams than its capacity carries. --write keeps figures and
picture where the documentation has them, with --add beside the rounds that are there already.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests import wrk
from loadtests.bodies import picture
from loadtests.contestants import DEADLINE_S, Contestant, contestants
from loadtests.figures import draw_overload
from loadtests.processes import ROOT, TICK_S, Server, busy_s, free_port, started
from loadtests.race import Record, client_cpu_s, machine, own_load, wait_ready
from loadtests.standings import median, spread, table

FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # times the capacity
CLIENTS = 16
STREAM_PER_S = 15.0  # frames of one stream
PROMISE, PROMISED_AT = 0.95, 2.0
PLAIN, LIMITED, SCRIPT = "atpn", "atpn, limited", "FastAPI script"
RESULTS = ROOT / "loadtests" / "results"
PICTURE = ROOT / "docs" / "images" / "overload.svg"


@dataclass(frozen=True)
class Run:
    """How it is measured."""

    seconds: float  # of each point
    folder: Path  # for what servers leave behind


@contextmanager
def running(contestant: Contestant, folder: Path, limits: Mapping[str, str]) -> Iterator[Server]:
    """The server with these further settings, ready, ended with the block."""
    port, log = free_port(), folder / f"{contestant.name}.log"
    environment = {"TMPDIR": str(folder), **contestant.environment, **limits}
    with started(contestant.command(port), environment, port, log) as server:
        wait_ready(server, contestant.given)
        yield server


class Photographs:
    """Requests with one photograph and its box, at their times."""

    what = "photographs"

    def limits(self, capacity: float) -> dict[str, str]:
        """A rate limit for one client, who sends everything: the capacity."""
        return {"ATPN_RATE_LIMIT_PER_S": f"{capacity:.0f}", "ATPN_RATE_LIMIT_BURST": f"{CLIENTS}"}

    def capacity(self, run: Run, contestant: Contestant, server: Server) -> float:
        """Answers a second of clients who wait."""
        wrk.run(server.port, contestant.given, CLIENTS, 1, run.folder)  # warm
        return wrk.run(server.port, contestant.given, CLIENTS, run.seconds, run.folder).per_s

    def offered(self, run: Run, contestant: Contestant, server: Server, per_s: float) -> Record:
        """What comes of so many a second."""
        headers = contestant.given.headers | contestant.in_time
        request = replace(contestant.given, headers=headers).on_the_wire()
        return own_load("open_loop", server.port, per_s, run.seconds, DEADLINE_S, given=request)


class Streams:
    """Frames of so many streams as it takes, each at STREAM_PER_S."""

    what = "streams"

    def limits(self, capacity: float) -> dict[str, str]:
        """As many streams as the capacity carries; the rate limit counts what opens, not frames."""
        return {"ATPN_MAX_STREAMS": f"{max(1, round(capacity / STREAM_PER_S))}"}

    def capacity(self, run: Run, _: Contestant, server: Server) -> float:
        """Frames a second of streams that wait."""
        own_load("streams", server.port, CLIENTS, 1, given=picture())  # warm
        told = own_load("streams", server.port, CLIENTS, run.seconds, given=picture())
        return float(told["answers"] / told["wall_s"])

    def offered(self, run: Run, _: Contestant, server: Server, per_s: float) -> Record:
        """What comes of so many a second."""
        many = max(1, round(per_s / STREAM_PER_S))
        arguments = (server.port, many, per_s, run.seconds, DEADLINE_S)
        return own_load("cameras", *arguments, given=picture())


LOADS: list[tuple[Photographs | Streams, list[str]]] = [
    (Photographs(), [PLAIN, SCRIPT]),
    (Streams(), [PLAIN]),
]


def curve(
    load: Photographs | Streams, who: str, contestant: Contestant, run: Run, known: float | None
) -> Iterator[Record]:
    """All factors on one server; a ``known`` capacity is its limit, else it is measured."""
    limits = {} if known is None else load.limits(known)
    with running(contestant, run.folder, limits) as server:
        capacity = known or load.capacity(run, contestant, server)
        for factor in FACTORS:
            before = busy_s(), server.cpu_s(), client_cpu_s(), time.perf_counter()
            told = load.offered(run, contestant, server, factor * capacity)
            used_s, clients_s = server.cpu_s() - before[1], client_cpu_s() - before[2]
            cores_s = (time.perf_counter() - before[3]) * (os.cpu_count() or 1)
            others_s = max(0.0, busy_s() - before[0] - used_s - clients_s)
            yield {
                "what": load.what,
                "who": who,
                "factor": factor,
                "capacity": capacity,
                "in_time_per_s": told["in_time_per_s"],
                "of_capacity": told["in_time_per_s"] / capacity,
                "p99_ms": told["p99_ms"],
                "refused": told["refused"] / told["offered"],
                "late": told["late"] / told["offered"],
                "load_share": clients_s / max(TICK_S, clients_s + used_s),
                "others_share": others_s / cores_s,
            }


def one_round(run: Run) -> Iterator[Record]:
    """Every curve once; a limited server has the capacity of the one without limits."""
    servers = {PLAIN: contestants()["atpn"], SCRIPT: contestants()["script"]}
    for load, names in LOADS:
        for who in names:
            records = list(curve(load, who, servers[who], run, None))
            yield from records
            if who == PLAIN:
                capacity = records[0]["capacity"]
                yield from curve(load, LIMITED, servers[who], run, capacity)


def cells(records: Sequence[Record], what: str, who: str, factor: float) -> list[Record]:
    """One point of a curve, by round."""
    return [r for r in records if (r["what"], r["who"], r["factor"]) == (what, who, factor)]


def points(records: Sequence[Record], what: str, who: str) -> list[Record]:
    """A curve: the medians over the rounds."""
    found = []
    for factor in FACTORS:
        mine = cells(records, what, who, factor)
        names = [n for n, v in mine[0].items() if isinstance(v, float)] if mine else []
        found += [{n: statistics.median(r[n] for r in mine) for n in names}] if mine else []
    return found


def page(records: Sequence[Record], seconds: float) -> str:
    """Tables, and the promise."""
    rounds = len(cells(records, "photographs", PLAIN, FACTORS[0]))
    where = machine()
    text = (
        f"{where['cores']} cores of {where['cpu']}; medians (ranges) of {rounds} rounds of "
        f"{seconds:g} s.\n"
    )
    head = ["server", "capacity, a second", *(f"{factor:g} x" for factor in FACTORS)]
    for what in ("photographs", "streams"):
        rows = []
        for who in dict.fromkeys(r["who"] for r in records if r["what"] == what):
            every = [cells(records, what, who, factor) for factor in FACTORS]
            shares = [spread([r["of_capacity"] for r in cell]) for cell in every]
            rows.append([who, spread([r["capacity"] for r in every[0]], ".0f"), *shares])
            p99s = [f"{ms:.0f}" if (ms := median(cell, "p99_ms")) else "" for cell in every]
            rows.append(["p99 of those, ms", "", *p99s])
            late = [f"{median(cell, 'late'):.0%}" for cell in every]
            rows.append(["too late", "", *late])
        text += f"\n**{what}: answered within {DEADLINE_S} s ÷ capacity**\n\n{table(head, rows)}"
    return text + "\n" + promise(records) + disturbed(records)


def promise(records: Sequence[Record]) -> str:
    """Whether what is promised at twice the capacity was kept."""
    mine = [r["of_capacity"] for r in cells(records, "photographs", PLAIN, PROMISED_AT)]
    kept = "kept" if statistics.median(mine) >= PROMISE else "missed"
    return f"At {PROMISED_AT:g} times the capacity >= {PROMISE} of it: {spread(mine)}, {kept}.\n"


def disturbed(records: Sequence[Record]) -> str:
    """What the loads took of the cores that they share with the servers, and what others took."""
    load = spread([r["load_share"] for r in records], ".0%")
    others = spread([r["others_share"] for r in records], ".0%")
    return f"The load took {load} of what load and server used; others {others} of the cores.\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.5, help="of each point")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep figures and picture")
    parser.add_argument("--add", action="store_true", help="to the rounds that are kept already")
    options = parser.parse_args(arguments)
    wrk.find_wrk()
    kept = RESULTS / "overload.json"
    records: list[Record] = json.loads(kept.read_text()) if options.add else []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(options.seconds, Path(folder))
        for _ in range(options.rounds):
            records += one_round(run)
    text = page(records, options.seconds)
    print(text)
    if options.write:
        kept.write_text(json.dumps(records, indent=1) + "\n")
        (RESULTS / "overload.md").write_text(text)
        draw(records, PICTURE)


def draw(records: Sequence[Record], path: Path) -> None:
    """The picture of what was measured."""
    curves = {
        what: {who: points(records, what, who) for who in (PLAIN, LIMITED, SCRIPT)}
        for what in ("photographs", "streams")
    }
    draw_overload(curves, PROMISE, path)


if __name__ == "__main__":
    main()

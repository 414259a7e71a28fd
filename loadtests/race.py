"""The race: atpn as it comes and its peers, on the same photograph, network and cores, in turn.

``python -m loadtests.race [--seconds 5] [--rounds 3] [--only atpn,script] [--write]``

In each round each server is started, asked and ended, one after the other. A server whose
landmarks differ from the first one's ends the race.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from loadtests import wrk
from loadtests.bodies import Request, picture
from loadtests.contestants import (
    DEADLINE_S,
    PEERS,
    Contestant,
    Landmarks,
    apart,
    contestants,
    landmarks,
)
from loadtests.processes import ROOT, TICK_S, Server, busy_s, free_port, started
from loadtests.standings import page

RESULTS = Path(__file__).parent / "results"
START_S = 60  # until a server answers
START_TRIES = 3  # pytriton's instances now and then miss each other
ALIKE = 0.005  # inter-ocular distances that a landmark may lie from the first server's
ALIKE_FOUND = 0.03  # the same where each server looked for the face itself
CLIENTS = (1, 16)
LOADS = ("given", "searched", "track", "overload")
OVERLOAD = 2  # times what 16 clients were answered
Record = dict[str, Any]


@dataclass
class Race:
    """What is being measured, and the records so far."""

    seconds: float
    loads: Sequence[str]
    folder: Path
    reference: dict[str, Landmarks] = field(default_factory=dict)  # by load
    records: list[Record] = field(default_factory=list)


class NotStartedError(RuntimeError):
    """A server that gives no answer."""


def post(port: int, request: Request) -> bytes:
    """The body of the answer; OSError where there is none, or no 200."""
    url = f"http://127.0.0.1:{port}{request.path}"
    wanted = urllib.request.Request(url, request.body, request.headers)
    with urllib.request.urlopen(wanted, timeout=5) as response:  # noqa: S310
        return bytes(response.read())


def wait_ready(server: Server, request: Request) -> None:
    """Return at the first good answer; NotStartedError if there is none within START_S."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.pids():
        try:
            post(server.port, request)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise NotStartedError


def check(race: Race, who: str, load: str, body: bytes) -> None:
    """RuntimeError where the landmarks are not those of the race's first server."""
    points = landmarks(body)
    reference = race.reference.setdefault(load, points)
    distance = apart(points, reference)
    if distance > (ALIKE if load == "given" else ALIKE_FOUND):
        raise RuntimeError(
            f"{who} answers other landmarks: one lies {distance:.2%} of the inter-ocular "
            "distance from the first server's"
        )


def client_cpu_s() -> float:
    """CPU seconds of the loads that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(server: Server, load: Callable[[], Record]) -> Record:
    """What the load tells, with the CPU time of an answer by thread, and of all others."""
    before = server.cpu_s(), server.threads(), busy_s(), client_cpu_s(), time.perf_counter()
    told = load()
    wall_s = time.perf_counter() - before[4]
    used_s, clients_s = server.cpu_s() - before[0], client_cpu_s() - before[3]
    others_s = max(0.0, busy_s() - before[2] - used_s - clients_s)
    threads = {name: s - before[1].get(name, 0.0) for name, s in server.threads().items()}
    answers = max(1, told["answers"])
    return {
        **told,
        "cpu_ms": 1000 * used_s / answers,
        "threads_cpu_ms": {n: 1000 * s / answers for n, s in threads.items() if s > TICK_S},
        "client_cpu_ms": 1000 * clients_s / answers,
        "others_share": others_s / wall_s / (os.cpu_count() or 1),
        "memory_mb": server.memory_mb(),
    }


def own_load(module: str, *arguments: float, given: bytes) -> Record:
    """One run of a load process of ours."""
    done = subprocess.run(
        [sys.executable, "-m", f"loadtests.{module}", *map(str, arguments)],
        input=given,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    told: Record = json.loads(done.stdout)
    if told.get("failed"):
        raise RuntimeError(f"{told['failed']} of {told['answers']} answers were no face")
    return told


def photos(race: Race, server: Server, request: Request, clients: int) -> Record:
    """The load of wrk."""
    answers = wrk.run(server.port, request, clients, race.seconds, race.folder)
    return {**vars(answers), "per_s": answers.per_s}


def frames(race: Race, server: Server, streams: int) -> Record:
    """The load of /track."""
    told = own_load("streams", server.port, streams, race.seconds, given=picture())
    return {**told, "per_s": told["answers"] / told["wall_s"]}


def crowd(race: Race, server: Server, contestant: Contestant, capacity: float) -> Record:
    """OVERLOAD times the capacity."""
    headers = contestant.given.headers | contestant.in_time
    request = replace(contestant.given, headers=headers).on_the_wire()
    offered = OVERLOAD * capacity
    told = own_load("open_loop", server.port, offered, race.seconds, DEADLINE_S, given=request)
    per_s = told["in_time_per_s"]
    return {**told, "answers": told["in_time"], "per_s": per_s, "of_capacity": per_s / capacity}


def asked(race: Race, contestant: Contestant, server: Server) -> Iterator[Record]:
    """All loads that the contestant can take."""
    requests = {"given": contestant.given, "searched": contestant.searched}
    capacity = 0.0
    for load, request in requests.items():
        if not request or load not in race.loads:
            continue
        check(race, contestant.name, load, post(server.port, request))
        wrk.run(server.port, request, max(CLIENTS), 1, race.folder)  # warm
        for clients in CLIENTS:
            record = measured(server, partial(photos, race, server, request, clients))
            yield {"load": load, "clients": clients, **record}
            capacity = record["per_s"] if load == "given" else capacity
        check(race, contestant.name, load, post(server.port, request))
    if contestant.tracks and "track" in race.loads:
        for streams in CLIENTS:
            record = measured(server, partial(frames, race, server, streams))
            yield {"load": "track", "clients": streams, **record}
    if capacity and "overload" in race.loads:
        record = measured(server, partial(crowd, race, server, contestant, capacity))
        yield {"load": "overload", "clients": None, **record}


def parts() -> Record:
    """Decoding and the network by themselves."""
    done = subprocess.run(
        [f"{PEERS}/python", "-m", "loadtests.peers.bare", "2"],
        input=picture(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    told: Record = json.loads(done.stdout)
    return told


def entered(race: Race, contestant: Contestant) -> list[Record]:
    """One contestant's records of a round; NotStartedError where it gives no answer."""
    port, log = free_port(), race.folder / f"{contestant.name}.log"
    # What servers leave behind goes with the folder.
    kept = dict.fromkeys(("TMPDIR", "PYTRITON_HOME", "BENTOML_HOME"), str(race.folder))
    with started(contestant.command(port), kept | contestant.environment, port, log) as server:
        wait_ready(server, contestant.given)
        return list(asked(race, contestant, server))


def run(race: Race, entrants: Sequence[Contestant], number: int) -> None:
    """One round."""
    race.records.append({"round": number, "who": "parts", **parts()})
    for contestant in entrants:
        for _ in range(START_TRIES):
            try:
                records = entered(race, contestant)
            except NotStartedError:
                records = [{"started": False}]
            else:
                break
        race.records += [{"round": number, "who": contestant.name, **each} for each in records]


def machine() -> Record:
    """Where this was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.machine(), "cores": os.cpu_count()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Race, print the standings, and with --write keep them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(contestants()), help="who, by commas")
    parser.add_argument("--loads", default=",".join(LOADS), help="which loads, by commas")
    parser.add_argument("--write", action="store_true", help="keep the result in results/")
    options = parser.parse_args(arguments)
    entrants = [contestants()[name] for name in options.only.split(",")]
    wrk.find_wrk()
    with tempfile.TemporaryDirectory() as folder:
        race = Race(options.seconds, options.loads.split(","), Path(folder))
        for number in range(options.rounds):
            run(race, entrants, number)
    result = {"machine": machine(), "seconds": options.seconds, "records": race.records}
    text = page(result, {each.name: each.about for each in entrants})
    print(text)
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "race.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "race.md").write_text(text)


if __name__ == "__main__":
    main()

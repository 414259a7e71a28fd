"""Measures `FaceAligner` beside the service that answers the same calls, and how fast it starts.

``python -m loadtests.in_process [--seconds 2] [--repeats 7]``

The calls of both are those of a program that changes one import line, so the time of the service
is with its client: JPEG, HTTP or WebSocket, JSON.
"""

import argparse
import itertools
import json
import os
import site
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from atpn import Client, FaceAligner
from atpn.client.pictures import pixels
from atpn.settings import Settings
from loadtests.measure import Spread, in_turn, spread
from loadtests.served import service
from loadtests.workloads import FACE, picture, run_median_ms

START = """
import json, time
began, cpu = time.perf_counter(), time.process_time()
from atpn import FaceAligner
imported = time.perf_counter()
FaceAligner()
ended = time.perf_counter()
print(json.dumps([ended - began, imported - began, time.process_time() - cpu]))
"""
Starts = list[list[float]]  # seconds of import and construction, of import alone, of the CPU


def starts(repeats: int, before: Callable[[], None]) -> Starts:
    """``from atpn import FaceAligner; FaceAligner()``, each in a process of its own."""
    found = []
    for _ in range(repeats):
        before()
        done = subprocess.run([sys.executable, "-c", START], stdout=subprocess.PIPE, check=True)
        found.append(json.loads(done.stdout))
    return found


def forget_files() -> None:
    """Ask the kernel to read packages and models from the disk again (Linux)."""
    here = Path(__file__).resolve().parents[1]
    roots = [*map(Path, site.getsitepackages()), here / "service", here / "models"]
    for file in itertools.chain.from_iterable(root.rglob("*") for root in roots):
        if file.is_file() and file.suffix in {".py", ".pyc", ".so", ".onnx", ".json"}:
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def photograph(faces: Client | FaceAligner, data: bytes) -> Callable[[], int]:
    """Align a JPEG with one given box."""
    boxes = [(FACE.x0, FACE.y0, FACE.x1, FACE.y1)]
    return lambda: len(faces.align(data, boxes=boxes).faces)


def frame(faces: Client | FaceAligner, data: bytes) -> Callable[[], int]:
    """The next frame of a stream: RGB pixels, as from a camera, with one face."""
    results = faces.track(itertools.repeat(pixels(data)))
    return lambda: len(next(results).faces)


def beside(seconds: float, repeats: int) -> dict[str, tuple[Spread, Spread, Spread]]:
    """For each kind of call: the service's time / this process's, and both in milliseconds."""
    data = picture()
    aligner = FaceAligner(Settings(device="cpu", second_look=False))
    found = {}
    with service() as served, Client(f"http://127.0.0.1:{served.port}") as client:
        for kind in (photograph, frame):
            there, here = kind(client, data), kind(aligner, data)
            there(), here()  # the first frame of a stream is searched for faces
            rounds = in_turn(
                repeats,
                partial(run_median_ms, seconds, there),
                partial(run_median_ms, seconds, here),
                lambda service_ms, own_ms: service_ms / own_ms,
            )
            ratios = spread([service_ms / own_ms for service_ms, own_ms in rounds])
            sides = [spread(list(side)) for side in zip(*rounds, strict=True)]
            found[kind.__name__] = (ratios, sides[0], sides[1])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="FaceAligner beside the service.")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=7, help="of each pair, at least")
    args = parser.parse_args(arguments)
    print("| start | all, s | import, s | CPU, s |\n|---|---|---|---|")
    for name, before in (("cold", forget_files), ("warm", lambda: None)):
        told = [spread(list(column)) for column in zip(*starts(args.repeats, before), strict=True)]
        print(f"| {name} | {' | '.join(shown(values) for values in told)} |")
    print("\n| call | service ÷ here | service, ms | here, ms |\n|---|---|---|---|")
    for name, figures in beside(args.seconds, args.repeats).items():
        print(f"| {name} | {' | '.join(shown(values) for values in figures)} |")


def shown(values: Spread) -> str:
    """Median and quartiles."""
    return f"{values['median']:.2f} ({values['q1']:.2f}-{values['q3']:.2f})"


if __name__ == "__main__":
    main()

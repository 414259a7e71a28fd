"""The capacity plan's arithmetic: from a few measured figures to the tables of docs/capacity.md.

python -m loadtests.capacity              prints the tables
python -m loadtests.capacity --write      puts them between the page's markers
python -m loadtests.capacity --measure    measures the figures of a stream on this machine
"""

import argparse
import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from websockets.asyncio.client import connect

from atpn.faces.saved_state import to_bytes
from atpn.faces.tracking import State, Track
from atpn.geometry import Box
from atpn.sessions import key_of
from loadtests import served, workloads

PAGE = Path(__file__).resolve().parents[1] / "docs" / "capacity.md"
BEGIN, END = "<!-- begin: {} -->\n", "<!-- end -->\n"
SCALES = (100, 10_000, 1_000_000)


@dataclass(frozen=True)
class Figures:
    """What the plan rests on. CPU times are of one AMD EPYC core (2.6 GHz)."""

    fps: float = 30.0
    frame_cpu_ms: float = 4.65  # measured: --measure, one face, 640x480 JPEG, all of the service
    network_cpu_ms: float = 2.1  # of two cores, by the bare network's rate in docs/performance.md
    frame_bytes: int = 62_000  # measured: the 640x480 JPEG of --measure
    answer_bytes: int = 2_000  # measured: 98 points and pose as JSON
    crop_bytes: int = 112 * 112 * 3  # what the network takes
    redis_cpu_us: float = 16.0  # measured: loadtests.saving, Redis 7.0, a state of 150 bytes
    redis_session_bytes: int = 577  # measured: loadtests.saving
    use: float = 0.65  # planned use of a core: the rest is for peaks and for a lost replica
    replica_cores: int = 2
    #: Not measured: a guess at a data-centre GPU, to be replaced by a measurement.
    gpu_faces_per_s: float = 10_000.0


def state(seq: int = 12_345, faces: int = 1) -> bytes:
    """A session's state after frame ``seq`` with so many faces, as `tracking` writes it."""
    track = Track(1, Box(201.25, 133.5, 398.75, 331.0, 0.1234), seq, vx=1.25, vy=-0.75)
    tracks = tuple(replace(track, track_id=i + 1) for i in range(faces))
    return to_bytes(State(seq, 640, 480, faces + 1, seq - 15, 0, tracks, ()))


def save_bytes() -> int:
    """Bytes that one saved frame sends to Redis: EVALSHA, its key and arguments, as RESP."""
    data = "x" * len(state())
    key = "atpn:" + key_of("token")
    words = ["EVALSHA", "a" * 40, "1", key, "12345", data, "60000"]
    return len(f"*{len(words)}\r\n") + sum(len(f"${len(w)}\r\n{w}\r\n") for w in words)


@dataclass(frozen=True)
class Plan:
    """What so many streams need."""

    streams: int
    figures: Figures

    @property
    def frames_per_s(self) -> float:
        """Frames of all streams."""
        return self.streams * self.figures.fps

    @property
    def cores(self) -> int:
        """CPU cores, at the planned use."""
        busy_s = self.frames_per_s * self.figures.frame_cpu_ms / 1000
        return math.ceil(busy_s / self.figures.use)

    @property
    def replicas(self) -> int:
        """Replicas on the CPU; two at least, so that one may end."""
        return max(2, math.ceil(self.cores / self.figures.replica_cores))

    @property
    def gpus(self) -> int:
        """GPUs for the network alone, by the assumed rate."""
        return max(
            1, math.ceil(self.frames_per_s / self.figures.gpu_faces_per_s / self.figures.use)
        )

    @property
    def front_cores(self) -> int:
        """CPU cores that are left to do where the network runs on GPUs."""
        ms = self.figures.frame_cpu_ms - self.figures.network_cpu_ms
        return math.ceil(self.frames_per_s * ms / 1000 / self.figures.use)

    @property
    def redis_mb_per_s(self) -> float:
        """What Redis receives, in 10**6 bytes a second."""
        return self.frames_per_s * save_bytes() / 1e6

    @property
    def redis_shards(self) -> int:
        """Primaries of one busy core each, at half of what that core can do."""
        return max(1, math.ceil(self.frames_per_s * self.figures.redis_cpu_us / 1e6 / 0.5))

    @property
    def redis_memory_mb(self) -> float:
        """Memory of all sessions."""
        return self.streams * self.figures.redis_session_bytes / 1e6

    @property
    def gbit_in(self) -> float:
        """Frames that come in, in Gbit/s."""
        return self.frames_per_s * self.figures.frame_bytes * 8 / 1e9

    @property
    def gbit_crops(self) -> float:
        """Crops that go to GPUs on other machines, in Gbit/s."""
        return self.frames_per_s * self.figures.crop_bytes * 8 / 1e9

    @property
    def gbit_out(self) -> float:
        """Answers that go out, in Gbit/s."""
        return self.frames_per_s * self.figures.answer_bytes * 8 / 1e9


def number(value: float) -> str:
    """Two figures that count, in groups of three; small whole numbers as they are."""
    if value >= 100:
        return f"{round(value, 1 - math.floor(math.log10(value))):,.0f}".replace(",", " ")
    return f"{float(f'{value:.2g}'):g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def unit_table(figures: Figures) -> str:
    """Streams of one core and of one GPU."""
    per_core = 1000 / figures.frame_cpu_ms / figures.fps
    front = 1000 / (figures.frame_cpu_ms - figures.network_cpu_ms) / figures.fps
    gpu = figures.gpu_faces_per_s / figures.fps
    full = {
        "one core, all of the service": per_core,
        "one core, the network elsewhere": front,
        "one GPU, the network alone (**assumed**, not measured)": gpu,
    }
    rows = [[name, number(n), number(n * figures.use)] for name, n in full.items()]
    head = ["unit", f"streams at {figures.fps:g}/s, full", f"planned, {figures.use:.0%} used"]
    return table(head, rows)


def scale_table(plans: Sequence[Plan]) -> str:
    """What each scale needs."""
    cores = plans[0].figures.replica_cores
    wanted: dict[str, Sequence[float]] = {
        "frames a second": [p.frames_per_s for p in plans],
        "CPU cores": [p.cores for p in plans],
        f"replicas of {cores} cores": [p.replicas for p in plans],
        "or: GPUs (assumed)": [p.gpus for p in plans],
        "and CPU cores before them": [p.front_cores for p in plans],
        "Redis: operations a second": [p.frames_per_s for p in plans],
        "Redis: MB a second, in": [p.redis_mb_per_s for p in plans],
        "Redis: memory, MB": [p.redis_memory_mb for p in plans],
        "Redis: primaries": [p.redis_shards for p in plans],
        "frames in, Gbit/s": [p.gbit_in for p in plans],
        "crops to other machines' GPUs, Gbit/s": [p.gbit_crops for p in plans],
        "answers out, Gbit/s": [p.gbit_out for p in plans],
    }
    rows = [[name, *(number(v) for v in values)] for name, values in wanted.items()]
    return table(["", *(f"{number(p.streams)} streams" for p in plans)], rows)


def change_table(figures: Figures, streams: int = SCALES[-1]) -> str:
    """What each change saves at the largest scale."""
    # Bytes and decoding (2.7 ms for the whole frame) go with the pixels; the rest stays.
    share = 256 * 256 / (640 * 480)
    decoding_ms = 2.7 * (1 - share)
    cut = replace(
        figures,
        frame_bytes=round(figures.frame_bytes * share),
        frame_cpu_ms=figures.frame_cpu_ms - decoding_ms,
    )
    changes = {
        "as it is": figures,
        "15 frames a second": replace(figures, fps=15),
        "clients send 256 by 256 pixels around the last ROI": cut,
        "both": replace(cut, fps=15),
    }
    rows = []
    for name, changed in changes.items():
        plan = Plan(streams, changed)
        parts = [plan.cores, plan.redis_shards, plan.gbit_in]
        rows.append([name, *(number(part) for part in parts)])
    head = [f"{number(streams)} streams", "CPU cores", "Redis primaries", "frames in, Gbit/s"]
    return table(head, rows)


def tables(figures: Figures) -> dict[str, str]:
    """Marker -> table of the page."""
    return {
        "units": unit_table(figures),
        "scales": scale_table([Plan(streams, figures) for streams in SCALES]),
        "changes": change_table(figures),
    }


def written(page: str, figures: Figures) -> str:
    """The page with its tables made anew; ValueError where a marker is missing."""
    for name, text in tables(figures).items():
        head, marker, rest = page.partition(BEGIN.format(name))
        _, end, tail = rest.partition(END)
        if not marker or not end:
            raise ValueError(f"the page has no place for the table {name!r}")
        page = f"{head}{marker}{text}{end}{tail}"
    return page


async def stream(port: int, frame: bytes, count: int) -> list[int]:
    """Send the same frame ``count`` times over one stream; the sizes of the answers."""
    sizes = []
    async with connect(f"ws://127.0.0.1:{port}/track", proxy=None) as socket:
        await socket.recv()
        for _ in range(count):
            await socket.send(frame)
            answer = await socket.recv(decode=False)
            if len(json.loads(answer)["faces"]) != 1:
                raise RuntimeError(f"one face was expected: {answer[:200]!r}")
            sizes.append(len(answer))
    return sizes


async def measured(frames: int = 400, streams: int = 4) -> dict[str, float]:
    """CPU and bytes of one frame of a stream: measured, not planned."""
    picture = workloads.picture()
    with served.service() as service:
        await asyncio.gather(*(stream(service.port, picture, 20) for _ in range(streams)))
        before = service.cpu_s()
        answers = await asyncio.gather(
            *(stream(service.port, picture, frames // streams) for _ in range(streams))
        )
        used_s = service.cpu_s() - before
    sizes = [size for sizes in answers for size in sizes]
    return {
        "frame_cpu_ms": 1000 * used_s / len(sizes),
        "frame_bytes": len(picture),
        "answer_bytes": sum(sizes) / len(sizes),
        "state_bytes": len(state()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, write or measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew the tables of docs/capacity.md")
    parser.add_argument("--measure", action="store_true", help="measure a stream's figures here")
    options = parser.parse_args(arguments)
    if options.measure:
        for name, value in asyncio.run(measured()).items():
            print(f"{name:14} {value:.2f}")
    elif options.write:
        PAGE.write_text(written(PAGE.read_text(), Figures()))
    else:
        print("\n".join(tables(Figures()).values()))


if __name__ == "__main__":
    main()

"""A soak: the service with Redis under a mixed load, for as long as one likes; fails if it grows.

    python -m loadtests.soak [--hours 1] [--write]

The run is a series of rounds. In each there are photographs, batches, streams and bad requests; in
some Redis is restarted. After each, when all connections are closed, memory, open files and threads
of the service are sampled, and the round's p99 and errors are noted. A sample that grows
(`slopes`), or any error, ends the command with 1. The figure and the samples go to ``build``;
--write puts them where the documentation has them.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtests.client import event_loop, p99
from loadtests.figures import draw_soak
from loadtests.mixture import one_round
from loadtests.processes import ROOT, Server, free_port, started
from loadtests.served import service
from loadtests.slopes import WARM_UP, Allowed, Verdict, judged, reached

LONGEST_ROUND_S, SHORTEST_ROUND_S, ROUNDS = 60.0, 1.0, 40
SETTLE_S = 0.5  # from a round's end to its sample
RESTART_EVERY = 8  # rounds: in each of these Redis is gone for the first half
BUILD, KEPT = ROOT / "build", ROOT / "loadtests" / "results" / "soak.json"
PICTURE = ROOT / "docs" / "images" / "soak.svg"


@dataclass(frozen=True)
class Sample:
    """One round, and the service after it."""

    minute: float  # since the start
    memory_mib: float
    files: int
    threads: int
    photos_p99_ms: float
    frames_p99_ms: float
    answers: int
    errors: int
    redis_was_gone: bool


#: Series -> how much it may rise over the run, after the warm-up.
ALLOWED = {
    "memory_mib": Allowed(5.0, share=0.03),
    "files": Allowed(2.0),
    "threads": Allowed(1.0),
    "photos_p99_ms": Allowed(20.0, share=1.0),
    "frames_p99_ms": Allowed(20.0, share=1.0),
}


class Store:
    """A Redis that is started and ended."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._running = ExitStack()

    def start(self) -> None:
        """Empty, on its port; the service finds it by itself."""
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if not binary:
            raise RuntimeError("redis-server is missing; on Debian: apt-get install redis-server")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command = [binary, *options, "--dir", str(self._folder)]
        log = self._folder / "redis.log"
        self._running.enter_context(started(command, {}, self.port, log))

    def stop(self) -> None:
        """What it held is lost."""
        self._running.close()


async def restarted(store: Store, seconds: float) -> None:
    """Redis gone for so long."""
    await asyncio.to_thread(store.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(store.start)


async def sampled(
    server: Server, store: Store, seconds: float, restart: bool, begun: float
) -> tuple[Sample, list[str]]:
    """One round and its sample, with a word on each error."""
    restarting = asyncio.create_task(restarted(store, seconds / 2)) if restart else None
    seen = await one_round(server.port, seconds)
    if restarting:
        await restarting
    await asyncio.sleep(SETTLE_S)
    sample = Sample(
        minute=(time.monotonic() - begun) / 60,
        memory_mib=server.memory_mb(),
        files=server.open_files(),
        threads=server.thread_count(),
        photos_p99_ms=p99(seen.photos_ms),
        frames_p99_ms=p99(seen.frames_ms),
        answers=seen.answers,
        errors=len(seen.errors),
        redis_was_gone=restart,
    )
    return sample, seen.errors


async def soak(server: Server, store: Store, hours: float) -> tuple[list[Sample], Counter[str]]:
    """All rounds."""
    seconds = min(LONGEST_ROUND_S, max(SHORTEST_ROUND_S, 3600 * hours / ROUNDS))
    samples: list[Sample] = []
    errors: Counter[str] = Counter()
    begun = time.monotonic()
    while time.monotonic() - begun < 3600 * hours:
        restart = len(samples) % RESTART_EVERY == RESTART_EVERY - 1
        sample, wrong = await sampled(server, store, seconds, restart, begun)
        samples.append(sample)
        errors.update(wrong)
        print(line(sample), *sorted(set(wrong)), sep="\n  ", flush=True)
    return samples, errors


def line(sample: Sample) -> str:
    """A sample for who watches."""
    gone = ", Redis restarted" if sample.redis_was_gone else ""
    return (
        f"{sample.minute:6.1f} min: {sample.memory_mib:.1f} MiB, {sample.files} files, "
        f"{sample.threads} threads, p99 {sample.photos_p99_ms:.0f} ms (photographs) "
        f"{sample.frames_p99_ms:.0f} ms (frames), {sample.answers} answers, "
        f"{sample.errors} errors{gone}"
    )


def verdicts(samples: Sequence[Sample]) -> dict[str, Verdict]:
    """By series; memory by the highest that it has reached."""
    rows = [asdict(sample) for sample in samples]
    series = {name: [row[name] for row in rows] for name in ALLOWED}
    series["memory_mib"] = reached(series["memory_mib"])
    return {name: judged(series[name], most) for name, most in ALLOWED.items()}


def table(found: dict[str, Verdict]) -> str:
    """The verdicts as a Markdown table."""
    lines = ["| series | first | last | rise | allowed | p | |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {v.first:.1f} | {v.last:.1f} | {v.rise:+.1f} | {v.allowed:.1f} | {v.p:.3f} | "
        f"{'grows' if v.grows else 'well'} |"
        for name, v in found.items()
    ]
    return "\n".join(lines)


@contextmanager
def environment() -> Iterator[tuple[Server, Store]]:
    """The service and its Redis, ended with the block."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.start()
        try:
            with service(redis_url=f"redis://127.0.0.1:{store.port}/0") as server:
                yield server, store
        finally:
            store.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, draw, judge; 1 where something grows or was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--write", action="store_true", help="keep samples and figure")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder, without --write")
    options = parser.parse_args(arguments)
    with environment() as (server, store), asyncio.Runner(loop_factory=event_loop) as runner:
        samples, errors = runner.run(soak(server, store, options.hours))
    options.out.mkdir(exist_ok=True)
    samples_at, picture_at = options.out / "soak.json", options.out / "soak.svg"
    if options.write:
        samples_at, picture_at = KEPT, PICTURE
    rows = [asdict(sample) for sample in samples]
    samples_at.write_text(json.dumps(rows, indent=1) + "\n")
    draw_soak(rows, WARM_UP, picture_at)
    found = verdicts(samples)
    answers = sum(sample.answers for sample in samples)
    restarts = sum(sample.redis_was_gone for sample in samples)
    print(
        f"\n{answers} answers as they should be, {restarts} restarts of Redis\n\n{table(found)}\n"
    )
    for word, count in errors.most_common(20):
        print(f"wrong: {word} ({count} times)")
    print(picture_at)
    return int(bool(errors) or any(verdict.grows for verdict in found.values()))


if __name__ == "__main__":
    sys.exit(main())

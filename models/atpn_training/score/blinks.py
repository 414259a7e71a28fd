"""The service's counter of blinks on real clips, beside the blinks that a person saw in them.

    python -m atpn_training.score.blinks --clips CLIPS [--model models/artifacts/atpn/1]

``blinks.csv`` was written by eye, from pictures of the eyes in every frame, before there was a
counter: first and last frame in which the lids cover the pupils, from 0. A closure is ``blink``;
``long``: of more than a second, mostly a look downward; or ``unclear``: lids that cover a part, or
a blurred frame. Only blinks can be missed; what is found where the eyes were closed otherwise
counts neither way.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2

from atpn.faces.frame import observed
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.score.following import VIDEOS, Follower, frames
from atpn_training.score.served import Model, shipped_detector

TRUTH = Path(__file__).with_name("blinks.csv")
NEAR = 1  # frames by which a closure may be off and still be the same
HEADINGS = ("clip", "frames", "seen by eye", "found", "missed", "false", "begins", "ends")


@dataclass(frozen=True)
class Closure:
    """Frames in which eyes are closed, from the first to the last."""

    first: int
    last: int
    kind: str = "blink"
    low: float = 0.0  # least ratio of the eyes, where it was measured

    def meets(self, other: "Closure") -> bool:
        """Whether both may be of the same eyes at the same time."""
        return self.first <= other.last + NEAR and other.first <= self.last + NEAR


@dataclass(frozen=True)
class Count:
    """Found closures of a clip beside the true ones."""

    frames: int
    pairs: tuple[tuple[Closure, Closure], ...]  # found, true
    missed: tuple[Closure, ...]
    false: tuple[Closure, ...]

    @property
    def begins(self) -> list[int]:
        """Frames that blinks begin too late; negative: too early."""
        return [found.first - true.first for found, true in self.pairs]

    @property
    def ends(self) -> list[int]:
        """Frames that blinks end too late."""
        return [found.last - true.last for found, true in self.pairs]


def truth(path: Path = TRUTH) -> dict[str, list[Closure]]:
    """What was seen by eye, by the clip's name; a clip without a closure has an empty list."""
    clips: dict[str, list[Closure]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            closures = clips.setdefault(row["clip"], [])
            if row["kind"] != "none":
                closures.append(Closure(int(row["first"]), int(row["last"]), row["kind"]))
    return clips


def compared(found: Iterable[Closure], true: Iterable[Closure], length: int) -> Count:
    """Each blink with the first found closure that meets it; both in the order of time."""
    left, others = list(found), [closure for closure in true if closure.kind != "blink"]
    pairs, missed = [], []
    for blink in (closure for closure in true if closure.kind == "blink"):
        match = next((closure for closure in left if closure.meets(blink)), None)
        if match is None:
            missed.append(blink)
        else:
            left.remove(match)
            pairs.append((match, blink))
    false = [closure for closure in left if not any(map(closure.meets, others))]
    return Count(length, tuple(pairs), tuple(missed), tuple(false))


def counted(follower: Follower, clip: Path) -> tuple[list[Closure], int]:
    """The blinks that a stream of the clip's frames tells, of all its faces, and its length."""
    found: list[Closure] = []
    rate, length = cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FPS), 0
    for index, image in enumerate(frames(clip)):
        before = {track.track_id: track.person for track in follower.state.tracks}
        followed = observed(follower.follow(image), index / rate)
        follower.state, length = followed.state, index + 1
        for track in followed.state.tracks:
            person, last = track.person, before.get(track.track_id)
            if person and person.last and person.blinks > (last.blinks if last else 0):
                low = last.closed.low if last and last.closed else 0.0
                found.append(Closure(person.last.seq - 1, index - 1, low=low))  # seq begins at 1
    return found, length


def table(counts: dict[str, Count]) -> Iterator[str]:
    """Markdown: a row a clip, and all together."""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|" + "---|" * len(HEADINGS)
    for name, count in counts.items():
        yield row(f"`{name}`", [count])
    yield row("all", list(counts.values()))


def row(name: str, counts: list[Count]) -> str:
    """Numbers of clips together; how many frames too late blinks begin and end."""
    pairs, missed = sum(len(c.pairs) for c in counts), sum(len(c.missed) for c in counts)
    cells = [sum(c.frames for c in counts), pairs + missed, pairs, missed]
    cells.append(sum(len(c.false) for c in counts))
    offs = [[v for c in counts for v in c.begins], [v for c in counts for v in c.ends]]
    return "| " + " | ".join([name, *map(str, cells), *map(off, offs)]) + " |"


def off(distances: list[int]) -> str:
    """``+1 (+3)``: median and farthest."""
    return f"{round(median(distances)):+d} ({max(distances, key=abs):+d})" if distances else ""


def main() -> None:
    """Print the table, and what was missed and found by mistake."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=ARTIFACTS / "atpn" / "1")
    options = parser.parse_args()
    model, detector, counts = Model.load(options.model), shipped_detector(), {}
    for name, closures in truth().items():
        (clip,) = (p for p in options.clips.iterdir() if p.stem == name and p.suffix in VIDEOS)
        found, length = counted(Follower(model.network, detector), clip)
        counts[name] = compared(found, closures, length)
    print("\n".join(table(counts)))
    for name, count in counts.items():
        for missed in count.missed:
            print(f"{name}: missed {missed.first}-{missed.last}")
        for false in count.false:
            print(f"{name}: false {false.first}-{false.last}")
    lows = [found.low for count in counts.values() for found, _ in count.pairs]
    print(f"least ratio of the eyes in a blink: median {median(lows):.2f}")


if __name__ == "__main__":
    main()

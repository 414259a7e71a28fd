"""Judges head pose on Pointing'04 person by person, networks and the mesh side by side.

    python -m atpn_training.score.people --data DATA before=.../atpn/1 after=RUN/pose.done.pt

People do not turn as far as they are told, each by another amount. So each figure is given
twice: the mean error from what was asked, and from the person's own straight line through the
answers, which is what a network can be blamed for.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atpn.geometry import roi_from_landmarks
from atpn_training.data.directions import directions
from atpn_training.data.faces import Faces, load_faces
from atpn_training.data.images import Array, Images
from atpn_training.score.judge import compared
from atpn_training.score.measures import Values
from atpn_training.score.served import Model, crops_of

MESH = "mesh"
ASIDE, UP = 0, 1  # columns of directions


@dataclass(frozen=True)
class Question:
    """One of the two angles, and of which faces: those asked to look so far aside and up."""

    title: str
    angle: int
    aside: tuple[float, float] = (0, 90)
    up: tuple[float, float] = (-60, 60)  # at 90 degrees the azimuth means nothing

    def faces(self, asked: Values) -> NDArray[np.bool_]:
        """Which of (N, 2) asked directions, in degrees, it is about."""
        aside, up = np.abs(asked[:, ASIDE]), asked[:, UP]
        low, high = self.aside
        return (aside >= low) & (aside <= high) & (up >= self.up[0]) & (up <= self.up[1])


QUESTIONS = (
    Question("azimuth, asked for up to 45°", ASIDE, aside=(0, 45)),
    Question("azimuth, from 60°", ASIDE, aside=(60, 90)),
    Question("elevation, up to 30° either way", UP, up=(-30, 30)),
    Question("elevation, 60° down", UP, up=(-60, -60)),
    Question("elevation, 60° up", UP, up=(60, 60)),
)


@dataclass(frozen=True)
class Judged:
    """Mean errors in degrees: from what was asked, and from the person's own line."""

    asked: float
    own: float

    def __str__(self) -> str:
        return f"{self.asked:.1f} / {self.own:.1f}"


@dataclass(frozen=True)
class People:
    """Pointing'04's faces of both splits, as fixed crops."""

    crops: Images
    asked: Values  # (N, 2) degrees
    mesh: Array  # (N, 3) yaw, pitch, roll in radians, NaN where absent
    person: NDArray[np.str_]
    trained: NDArray[np.bool_]  # (N,) whether the person is one of the training split

    @classmethod
    def load(cls, data: Path) -> "People":
        """Those of a data folder."""
        parts = [cls._of(load_faces(data, split), split) for split in ("train", "val")]
        return cls(
            **{k: np.concatenate([vars(p)[k] for p in parts]) for k in vars(parts[0])},
        )

    @classmethod
    def _of(cls, faces: Faces, split: str) -> "People":
        faces = faces.where(faces.source == "pointing04")
        crops = crops_of(faces.images, [roi_from_landmarks(p) for p in faces.teacher])
        asked = np.degrees(faces.looked.astype(np.float64)).round()
        return cls(crops, asked, faces.mesh, faces.person, np.full(len(faces), split == "train"))

    def __len__(self) -> int:
        return len(self.crops)


def judged(found: Values, asked: Values, question: Question) -> Judged | None:
    """One person's answers (N, 2) to a question; None where fewer than three faces are asked."""
    rows = question.faces(asked) & np.isfinite(found).all(1)
    if rows.sum() < 3:
        return None
    own, wanted = found[rows, question.angle], asked[rows, question.angle]
    degree = min(1, len(np.unique(wanted)) - 1)
    line = np.polyval(np.polyfit(wanted, own, degree), wanted)
    return Judged(float(np.abs(own - wanted).mean()), float(np.abs(own - line).mean()))


def in_turn(found: Values, people: People, question: Question) -> dict[str, Judged]:
    """The persons who were asked, and the means of those trained on and of the others."""
    each: dict[str, Judged] = {}
    groups: dict[str, list[Judged]] = {"mean of the trained on": [], "mean of the others": []}
    for person in sorted(np.unique(people.person), key=int):
        rows = people.person == person
        one = judged(found[rows], people.asked[rows], question)
        if one is not None:
            seen = bool(people.trained[rows].all())
            each[f"person {person}{', trained on' if seen else ''}"] = one
            groups["mean of the trained on" if seen else "mean of the others"].append(one)
    means = {
        name: Judged(
            *(float(np.mean(v)) for v in zip(*((o.asked, o.own) for o in ones), strict=True))
        )
        for name, ones in groups.items()
        if ones
    }
    return each | means


def tables(answers: dict[str, Array], people: People) -> str:
    """Markdown: a table a question, a row a person, a column each of the answers (N, 3)."""
    blocks = []
    found = {n: np.degrees(directions(a).astype(np.float64)) for n, a in answers.items()}
    for question in QUESTIONS:
        columns = {name: in_turn(own, people, question) for name, own in found.items()}
        rows = dict.fromkeys(row for column in columns.values() for row in column)
        lines = [f"| {question.title} | {' | '.join(columns)} |"]
        lines.append(f"|---|{'---:|' * len(columns)}")
        lines += [
            f"| {r} | {' | '.join(str(c.get(r, '')) for c in columns.values())} |" for r in rows
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def main() -> None:
    """Print the tables."""
    args = compared(__doc__)
    cv2.setNumThreads(1)
    people = People.load(args.data)
    answers = {name: Model.load(path).run(people.crops).pose for name, path in args.networks}
    print("Degrees: mean error from what was asked / from the person's own line.\n")
    print(tables({MESH: people.mesh, **answers}, people))


if __name__ == "__main__":
    main()

"""What signals are worth: what turning the head does to open eyes, faces at rest, pupils.

    python -m atpn_training.score.signals --data DATA [--model models/artifacts/atpn/1]

Pointing'04's people show the same open eyes from many sides: the less an eye's ratio changes, the
better the correction. Faces at rest are the validation faces that look into the camera. Pupils are
held against the iris of the face mesh.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atpn.faces.face import Face
from atpn.faces.looking import drive
from atpn.faces.second_look import look_twice
from atpn.faces.signals import DOWNWARD, LEFT_EYE, OUTWARD, RIGHT_EYE, Ratios, measured
from atpn.geometry import Box, roi_from_landmark_box, rotation_from_euler
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.data.faces import Faces, load_faces, load_meshes
from atpn_training.data.images import STORED, Array
from atpn_training.data.labels import MASKED
from atpn_training.score.measures import Values
from atpn_training.score.served import Model, no_search, seen

SQUARE = Box(STORED / 4, STORED / 4, 3 * STORED / 4, 3 * STORED / 4)  # of a crop's landmarks
SURE = 0.7
STRAIGHT = 20.0  # degrees of yaw and pitch, of who looks into the camera
TURNED, LOWEST, HIGHEST = 45.0, -10.0, 40.0  # of the people; who looks down lowers the lids
PLANES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # outward and down, radians, that are tried
SHARES = (10, 25, 50, 75, 90)
IRISES = ((33, 133, 468), (362, 263, 473))  # of the mesh: outer or inner corners, and the iris


@dataclass(frozen=True)
class Looked:
    """Faces as the service sees them, and the rows that they are of."""

    faces: list[Face]
    rows: Faces

    def where(self, keep: NDArray[np.bool_]) -> "Looked":
        """The faces of the mask."""
        return Looked(
            [f for f, kept in zip(self.faces, keep, strict=True) if kept], self.rows.where(keep)
        )

    @property
    def degrees(self) -> Values:
        """Yaw and pitch: (N, 2)."""
        return np.degrees([face.pose[:2] for face in self.faces])

    @property
    def sure(self) -> NDArray[np.bool_]:
        """Which are surely faces."""
        return np.array([face.confidence >= SURE for face in self.faces])


def looked_at(model: Model, rows: Faces) -> Looked:
    """The rows' faces, as /align sees faces whose landmarks' rectangle it is given."""
    roi = roi_from_landmark_box(SQUARE)
    return Looked(
        [
            drive(look_twice([roi]), partial(seen, model.network, image), no_search)[0]
            for image in rows.images
        ],
        rows,
    )


def eyes(looked: Looked, outward: float, downward: float, corrected: bool = True) -> Values:
    """Ratios (N, 2) of the eyes, as if each lay in a plane of the head that faces so (radians)."""
    ratios = []
    for face in looked.faces:
        turn = face.rotation if corrected else np.eye(3)
        found = []
        for side, own in ((1, LEFT_EYE), (-1, RIGHT_EYE)):
            plane = rotation_from_euler(side * outward, -downward, 0)
            found.append(measured(face.landmarks, turn @ plane @ own.T))
        ratios.append([found[0].left_eye, found[1].right_eye])
    return np.array(ratios, np.float64)


def changes(ratios: Values, person: NDArray[np.str_]) -> float:
    """Mean distance (percent) of ratios (N, 2) from the person's own median, each eye by itself."""
    logs = np.log(ratios)
    for name in np.unique(person):
        logs[person == name] -= np.nanmedian(logs[person == name], 0)
    return 100 * float(np.nanmean(np.abs(logs)))


def turning(looked: Looked) -> str:
    """What yaw and pitch do to open eyes, without and with corrections."""
    yaw, pitch = looked.degrees.T
    keep = looked.sure & (looked.rows.source == "pointing04")
    keep &= (np.abs(yaw) < TURNED) & (pitch > LOWEST) & (pitch < HIGHEST)
    people = looked.where(keep)
    person = people.rows.person
    hidden = np.isnan(eyes(people, OUTWARD, DOWNWARD))

    def changed(outward: float, downward: float, corrected: bool = True) -> float:
        ratios = eyes(people, outward, downward, corrected)
        return changes(np.where(hidden, np.nan, ratios), person)

    least = min((changed(*plane), plane) for plane in product(PLANES, PLANES))
    return (
        f"open eyes of {len(person)} pictures of {len(np.unique(person))} people, from the "
        f"person's median:\n  as the image shows them: {changed(0, 0, corrected=False):.1f} %"
        f"\n  in the plane of the face: {changed(0, 0):.1f} %"
        f"\n  in their own planes: {changed(OUTWARD, DOWNWARD):.1f} %"
        f"\n  of all planes least in those that face {least[1]} outward and down: {least[0]:.1f} %"
    )


def at_rest(looked: Looked) -> str:
    """The ratios of people who look into the camera."""
    straight = (np.abs(looked.degrees) < STRAIGHT).all(1) & looked.sure
    straight &= ~np.isin(looked.rows.source, [*MASKED, "infanface"])
    ratios = [measured(f.landmarks, f.rotation) for f in looked.where(straight).faces]
    lines = [f"{len(ratios)} faces that look into the camera, at {SHARES} %"]
    for name in ("left_eye", "right_eye", "mouth_width", "brows"):
        values = np.array([getattr(r, name) for r in ratios], np.float64)
        shown = " ".join(f"{v:.2f}" for v in np.nanpercentile(values, SHARES))
        lines.append(f"  {name}: {shown}")
    return "\n".join(lines)


def pupils(looked: Looked, meshes: Array) -> str:
    """How the pupils' x goes with that of the mesh's iris."""
    known = np.isfinite(meshes).all((1, 2)) & looked.sure
    known &= (np.abs(looked.degrees) < STRAIGHT).all(1) & ~np.isin(looked.rows.source, MASKED)
    ours, theirs = [], []
    for face, mesh in zip(looked.where(known).faces, meshes[known], strict=True):
        ratios = measured(face.landmarks, face.rotation)
        for pupil, (left, right, iris) in zip(_pupils(ratios), IRISES, strict=True):
            half = (mesh[right] - mesh[left]) / 2
            ours.append(pupil)
            theirs.append((mesh[iris] - (mesh[left] + mesh[right]) / 2) @ half / (half @ half))
    slope = np.polyfit(theirs, ours, 1)[0]
    together = np.corrcoef(theirs, ours)[0, 1]
    return (
        f"pupils of {len(ours)} eyes move by {100 * slope:.0f} % of the mesh's iris, "
        f"correlation {together:.2f}"
    )


def _pupils(ratios: Ratios) -> list[float]:
    """Their x, of eyes that are seen from the front."""
    return [pupil[0] for pupil in (ratios.left_pupil, ratios.right_pupil) if pupil is not None]


def main() -> None:
    """Print all three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--model", type=Path, default=ARTIFACTS / "atpn" / "1")
    args = parser.parse_args()
    model = Model.load(args.model)
    train = load_faces(args.data, "train")
    print(turning(looked_at(model, train.where(train.source == "pointing04"))))
    faces = looked_at(model, load_faces(args.data, "val"))
    print(at_rest(faces))
    print(pupils(faces, load_meshes(args.data, "val")))


if __name__ == "__main__":
    main()

"""How far the pose teacher's angles are to be trusted: its own points factorised, and people.

    python -m atpn_training.score.calibration --data DATA

Factorisation (Tomasi and Kanade 1992, with the constraints of a scaled orthographic camera)
finds the rotations of many faces from the mesh's 2-D points alone, by no model of a head. How its
angles grow with the mesh's says whether those are stretched or compressed. Pointing'04 then says
how far people turn who are told to.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atpn.geometry import euler_from_rotation, rotation_from_euler
from atpn_training.data.directions import directions
from atpn_training.data.faces import Faces, load_faces, load_meshes
from atpn_training.data.images import Array
from atpn_training.data.labels import MASKED
from atpn_training.data.profiles import MESH
from atpn_training.score.measures import Values

BINS = (-25, -15, -7, 0, 7, 15, 25)  # degrees of pitch, each as often as another
EACH = 130  # faces of a bin
ANGLES = ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class Posed:
    """Faces' mesh points (N, 468, 2) and the mesh's angles (N, 3) in radians."""

    points: Array
    euler: Array

    def spread_by_pitch(self, seed: int) -> "Posed":
        """As many faces of each pitch as there are, up to a limit."""
        rng = np.random.default_rng(seed)
        bins = np.digitize(np.degrees(self.euler[:, 1]), BINS)
        chosen = [np.flatnonzero(bins == b) for b in np.unique(bins)]
        rows = np.concatenate([rng.permutation(c)[:EACH] for c in chosen])
        return Posed(self.points[rows], self.euler[rows])


def factorised(points: Array) -> NDArray[np.float64]:
    """Rotations (N, 3, 3) of points (N, P, 2), up to one common rotation and to mirroring depth."""
    centred = points.astype(np.float64) - points.mean(1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    rows = centred.transpose(0, 2, 1).reshape(2 * len(points), -1)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    motion = left[:, :3] * sizes[:3]
    seen = (motion @ _metric(motion)).reshape(-1, 2, 3)
    left, _, right = np.linalg.svd(seen, full_matrices=False)
    two = left @ right
    return np.concatenate([two, np.cross(two[:, 0], two[:, 1])[:, None]], 1)


def _metric(motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """What makes each pair of rows orthogonal and equally long: (3, 3)."""
    across, down = motion[::2], motion[1::2]
    apart = _products(across, down)
    longer = _products(across, across) - _products(down, down)
    size = np.array([[10.0, 0, 0, 10, 0, 10]])
    wanted = np.zeros(2 * len(across) + 1)
    wanted[-1] = 30
    a, b, c, d, e, f = np.linalg.lstsq(np.vstack([apart, longer, size]), wanted)[0]
    values, vectors = np.linalg.eigh(np.array([[a, b, c], [b, d, e], [c, e, f]]))
    return np.asarray(vectors @ np.diag(np.sqrt(np.maximum(values, 1e-9))))


def _products(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients (N, 6) of u' S v for a symmetric S, (N, 3) each."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    both = [u[:, i] * v[:, j] + (u[:, j] * v[:, i] if i != j else 0) for i, j in pairs]
    return np.stack(both, 1)


def turned_onto(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotations (N, 3, 3) in the axes of others, with the depth that suits them better."""
    mirrored = found * np.array([[1, 1, -1], [1, 1, -1], [-1, -1, 1]])
    candidates = []
    for own in (found, mirrored):
        left, _, right = np.linalg.svd(np.einsum("nij,nik->jk", own, wanted))
        common = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
        candidates.append(own @ common)
    return min(candidates, key=lambda own: float(np.linalg.norm(own - wanted)))


def slopes(posed: Posed) -> Values:
    """How much yaw, pitch and roll grow by factorisation for one degree of the mesh's: (3,)."""
    mesh = np.stack([rotation_from_euler(*(float(a) for a in e)) for e in posed.euler])
    own = turned_onto(factorised(posed.points), mesh)
    euler = np.array([euler_from_rotation(r) for r in own])
    return np.asarray((euler * posed.euler).sum(0) / (posed.euler**2).sum(0))


def people(faces: Faces) -> str:
    """Where the mesh sees Pointing'04's people look, against what they were told, if moderate."""
    asked, seen = np.degrees(faces.looked), np.degrees(directions(faces.mesh))
    known = np.isfinite(asked).all(1) & np.isfinite(seen).all(1)
    known &= (np.abs(asked[:, 0]) <= 45) & (np.abs(asked[:, 1]) <= 30)
    lines = []
    for person in np.unique(faces.person[known]):
        own = known & (faces.person == person)
        aside, up = (seen - asked)[own].mean(0)
        slope = np.polyfit(asked[own, 1], seen[own, 1], 1)[0]
        lines.append(
            f"person {person}: azimuth {aside:+.1f}, elevation {up:+.1f} from what was asked, "
            f"elevation grows by {slope:.2f} of it"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the slopes, twice, and the people."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    args = parser.parse_args()
    faces, meshes = load_faces(args.data, "train"), load_meshes(args.data, "train")
    known = np.isfinite(meshes).all((1, 2)) & np.isfinite(faces.mesh).all(1)
    known &= ~np.isin(faces.source, MASKED)
    posed = Posed(meshes[known, :MESH], faces.mesh[known])
    for seed in (0, 1):
        chosen = posed.spread_by_pitch(seed)
        found = ", ".join(f"{a} {s:.2f}" for a, s in zip(ANGLES, slopes(chosen), strict=True))
        print(
            f"by factorisation of {len(chosen.points)} faces, for a degree of the mesh's: {found}"
        )
    print(people(faces))


if __name__ == "__main__":
    main()

"""How far MediaPipe's mesh points lie from the landmarks that docs/coming_from.md takes them for.

``python -m atpn_training.score.mesh_points --data DIR`` prints the page's table.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atpn.landmarks import LEFT_EYE_OUTER, MESH, RIGHT_EYE_OUTER
from atpn_training.data.faces import load_faces, load_meshes
from atpn_training.data.images import Array

MOST_YAW = np.radians(25)  # of the faces that are compared: both see all of them


def distances(points: Array, meshes: Array) -> Array:
    """(N, 98, 2) landmarks and (N, 478, 2) meshes of the same faces -> (98,), NaN without a pair.

    Mean distance / distance of the outer corners of the eyes.
    """
    span = np.linalg.norm(points[:, LEFT_EYE_OUTER] - points[:, RIGHT_EYE_OUTER], axis=1)
    found = np.full(points.shape[1], np.nan, np.float32)
    for ours, theirs in MESH.items():
        apart = np.linalg.norm(points[:, ours] - meshes[:, theirs], axis=1)
        found[ours] = (apart / span).mean()
    return found


def table(far: Array) -> str:
    """The pairs with their distances in per cent, as Markdown; several to a line."""
    cells = [f"{ours} | {theirs} | {100 * far[ours]:.1f}" for ours, theirs in MESH.items()]
    rows = [" | | ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]
    return "\n".join(f"| {row} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on the validation faces that look ahead, and print."""
    parser = argparse.ArgumentParser(description="Mesh points beside landmarks.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    data = parser.parse_args(arguments).data
    faces, meshes = load_faces(data, "val"), load_meshes(data, "val")
    known = np.isfinite(meshes).all((1, 2)) & (np.abs(faces.mesh[:, 0]) < MOST_YAW)
    print(f"{known.sum()} faces")
    print(table(distances(faces.points[known], meshes[known])))


if __name__ == "__main__":
    main()

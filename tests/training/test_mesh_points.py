"""How far the mesh's points lie from ours: measured on made-up faces."""

import numpy as np

from atpn.landmarks import LEFT_EYE_OUTER, MESH, RIGHT_EYE_OUTER, to_mesh
from atpn_training.score.mesh_points import distances, table


def test_distances_are_shares_of_the_span_of_the_eyes_and_only_of_known_pairs() -> None:
    points = np.random.default_rng(1).uniform(0, 100, (3, 98, 2)).astype(np.float32)
    points[:, LEFT_EYE_OUTER], points[:, RIGHT_EYE_OUTER] = (0, 0), (50, 0)
    meshes = to_mesh(points)
    meshes[:, MESH[54]] += (3, 4)
    far = distances(points, meshes)
    assert np.isnan(far).sum() == 98 - len(MESH)
    assert far[54] == np.float32(0.1)
    assert np.nansum(far) == far[54]
    assert "| 54 | 1 | 10.0 |" in table(far)
    assert table(far).count("| 0.0 |") == len(MESH) - 1

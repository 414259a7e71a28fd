"""The WFLW 98-point landmark scheme: names, contours, mirror image and the 68- and 5-point subsets.

Index order is that of WFLW (Wu et al., CVPR 2018). "Left" and "right" are those of the image.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

POINTS = 98

#: Joined outlines for drawing, name -> (first, last + 1, closed).
CONTOURS: dict[str, tuple[int, int, bool]] = {
    "jaw": (0, 33, False),
    "left_brow": (33, 42, True),
    "right_brow": (42, 51, True),
    "nose_bridge": (51, 55, False),
    "nose_base": (55, 60, False),
    "left_eye": (60, 68, True),
    "right_eye": (68, 76, True),
    "outer_lips": (76, 88, True),
    "inner_lips": (88, 96, True),
}
LEFT_PUPIL, RIGHT_PUPIL = 96, 97
LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 60, 72


def _mirror() -> NDArray[np.intp]:
    pairs = [(i, 32 - i) for i in range(16)]
    pairs += [(33, 46), (34, 45), (35, 44), (36, 43), (37, 42)]
    pairs += [(38, 50), (39, 49), (40, 48), (41, 47)]
    pairs += [(55, 59), (56, 58)]
    pairs += [(60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73)]
    pairs += [(76, 82), (77, 81), (78, 80), (87, 83), (86, 84)]
    pairs += [(88, 92), (89, 91), (95, 93), (96, 97)]
    order = np.arange(POINTS)
    for a, b in pairs:
        order[a], order[b] = b, a
    return order


#: ``points[MIRROR]`` renumbers the points of a mirrored picture.
MIRROR = _mirror()

#: 300W's 68 points: each is a WFLW point, or lies a third of the way from one to another. WFLW has
#: three points on each lid and 300W two: those are at a third and two thirds of its length.
_68: list[tuple[int, int]] = (
    [(i, i) for i in range(0, 33, 2)]
    + [(i, i) for i in range(33, 38)]
    + [(i, i) for i in range(42, 47)]
    + [(i, i) for i in range(51, 60)]
    + [(60, 60), (61, 62), (63, 62), (64, 64), (65, 66), (67, 66)]
    + [(68, 68), (69, 70), (71, 70), (72, 72), (73, 74), (75, 74)]
    + [(i, i) for i in range(76, 96)]
)
_68_A, _68_B = (np.array(side) for side in zip(*_68, strict=True))

#: The 68-point indices that are exactly one WFLW point: (68-point index, 98-point index).
EXACT_68: list[tuple[int, int]] = [(i, a) for i, (a, b) in enumerate(_68) if a == b]


def to_68(points: Array) -> Array:
    """(..., 98, 2) -> (..., 68, 2) in 300W order; eyelid points lie between two of WFLW's.

    WFLW and 300W place contour and brows by different rules: expect those to differ a little.
    """
    near = points[..., _68_A, :]
    return near + (points[..., _68_B, :] - near) * np.float32(1 / 3)


def to_5(points: Array) -> Array:
    """(..., 98, 2) -> (..., 5, 2): left eye, right eye, nose tip, left and right mouth corner."""
    return points[..., [LEFT_PUPIL, RIGHT_PUPIL, 54, 76, 82], :]


#: MediaPipe's face mesh: the 98-point index and the number of the one of the mesh's 478 points that
#: lies closest to it, where that is near enough to take it for the same place. They are not the
#: same: `atpn_training.score.mesh_points` measures how far apart they are.
MESH: dict[int, int] = {
    **{16: 152, 33: 70, 37: 107, 38: 55, 42: 336, 46: 300, 50: 285},  # chin, ends of the brows
    **{51: 168, 52: 197, 53: 5, 54: 1, 56: 97, 57: 2, 58: 326},  # nose
    **{60: 33, 61: 160, 62: 159, 63: 157, 64: 133, 65: 153, 66: 145, 67: 163},  # left eye
    **{68: 362, 69: 384, 70: 386, 71: 387, 72: 263, 73: 390, 74: 374, 75: 380},  # right eye
    **{76: 61, 77: 40, 78: 37, 79: 0, 80: 267, 81: 270},  # upper lip, its outer edge
    **{82: 291, 83: 321, 84: 314, 85: 17, 86: 84, 87: 91},  # lower lip, its outer edge
    **{88: 78, 89: 81, 90: 13, 91: 311, 92: 308, 93: 402, 94: 14, 95: 178},  # inner edges
    **{LEFT_PUPIL: 468, RIGHT_PUPIL: 473},
}


def to_mesh(points: Array) -> Array:
    """(..., 98, 2) -> (..., 478, 2) in MediaPipe's numbers, NaN where there is no such point here.

    In the unit of ``points``; MediaPipe's own are shares of the image's width and height.
    """
    mesh = np.full((*points.shape[:-2], 478, 2), np.nan, np.float32)
    mesh[..., list(MESH.values()), :] = points[..., list(MESH), :]
    return mesh


def subset(points: Array, count: int) -> Array:
    """The 98, 68 or 5 points of ``points`` (..., 98, 2); ValueError for any other count."""
    if count == POINTS:
        return points
    if count == 68:
        return to_68(points)
    if count == 5:
        return to_5(points)
    raise ValueError(f"points must be 98, 68 or 5, not {count}")

"""Photographs of half-turned heads turned on towards profile, where the pose teacher fails.

The idea of turning a photographed face on over a fitted shape, its surroundings drawn along, is
face profiling (Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016, section
4). Here the shape is learned from the training faces' own meshes. The landmarks turn along, and
the head's outline takes those that it hides; the pose stage alone learns from such faces.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay
from tqdm import tqdm

from atpn.geometry import rotation_from_euler
from atpn_training.data.faces import Faces
from atpn_training.data.images import Array, Images
from atpn_training.data.labels import DOUBTFUL, MASKED

MESH = 468  # points of the face mesh without its irises
CONTOUR = 33  # the first of the 98 landmarks, from the image's left to its right when frontal
DIRECTIONS = 360  # in which the reach of an outline is measured

#: Degrees. Heads to turn look so far aside; further, the teacher's label is not to be trusted.
FROM_YAW, TO_YAW = 20.0, 60.0
#: They are turned on by at least LEAST and at most MOST, to an angle below LAST: beyond it pitch
#: and roll can no longer be told apart.
LEAST, MOST, LAST = 8.0, 50.0, 88.0
TILTED = 25.0  # degrees of pitch or roll beyond which a head is left alone
#: A head is left alone that is smaller in its photograph, whose landmarks are doubtful, or whose
#: mesh is further (root mean square, share of its height) from the mean head's.
SMALLEST_PX, MISSHAPEN = 70.0, 0.05
#: Pointing'04 shows its profiles itself; under masks the mesh is a guess.
LEFT_ALONE = ("pointing04", *MASKED)


@dataclass(frozen=True)
class Head:
    """A mean head in its own axes (x right, y down, z away; frontal), and its surface."""

    mesh: Array  # (468, 3)
    landmarks: Array  # (98, 3)
    triangles: NDArray[np.int64]  # (T, 3) mesh points, clockwise on the image when seen

    def mesh_of(self, points: Array) -> Array:
        """A mesh (468, 2) for a face of which only the landmarks (98, 2) are known.

        The mean head turned, scaled and sheared until its landmarks are nearest to them; what is
        left between both is spread smoothly over the mesh.
        """
        spread = np.concatenate([self.landmarks, np.ones((98, 1), np.float32)], 1)
        fitted, *_ = np.linalg.lstsq(spread, points, rcond=None)
        left = RBFInterpolator(self.landmarks[:, :2], points - spread @ fitted, smoothing=1.0)
        mesh = self.mesh @ fitted[:3] + fitted[3] + left(self.mesh[:, :2])
        return np.asarray(mesh, np.float32)


@dataclass(frozen=True)
class Proportions:
    """A head's shape against that of its photograph, in its own axes."""

    width: float = 1.0
    depth: float = 1.0
    chin: float = 0.0  # how much longer the lowest part of the face becomes

    def of(self, points: Array, height: float) -> Array:
        """Points (N, 3) around the mesh's mean, of a face that is ``height`` high."""
        x, y, z = points.T
        lower = np.clip(2 * y / height, 0, 1)
        return np.stack([self.width * x, y * (1 + self.chin * lower), self.depth * z], 1)


ITS_OWN = Proportions()


def mean_head(meshes: Array, landmarks: Array, rotations: Array) -> Head:
    """The shape whose turned, scaled and shifted images are nearest to all the faces'.

    ``meshes`` (N, 468 or more, 2) and ``landmarks`` (N, 98, 2) in pixels, ``rotations``
    (N, 3, 3). The faces must not all look the same way: depth is seen by turning.
    """
    count = len(meshes)
    points = np.concatenate([meshes[:, :MESH], landmarks], 1, dtype=np.float32)
    points = points - points[:, :MESH].mean(1, keepdims=True)
    rows = points.transpose(0, 2, 1).reshape(2 * count, -1)
    scale = np.linalg.norm(points[:, :MESH], axis=(1, 2))
    scale = scale / scale.mean()
    for _ in range(6):
        view = (rotations[:, :2] * scale[:, None, None]).reshape(2 * count, 3)
        shape = np.linalg.solve(view.T @ view, view.T @ rows)  # (3, 468 + 98)
        shape -= shape[:, :MESH].mean(1, keepdims=True)
        seen = (rotations[:, :2].reshape(2 * count, 3) @ shape).reshape(count, -1)
        scale = (seen * rows.reshape(count, -1)).sum(1) / (seen**2).sum(1)
        scale, shape = scale / scale.mean(), shape * scale.mean()
    shape = shape.T.astype(np.float32)
    return Head(shape[:MESH], shape[MESH:], _surface(shape[:MESH]))


def _surface(mesh: Array) -> NDArray[np.int64]:
    """Triangles between neighbours on the face unrolled around the head's axis."""
    x, y, z = (mesh - mesh.mean(0)).T
    axis, radius = z.max(), np.ptp(x) / 2
    flat = np.stack([np.arctan2(x, axis + 0.1 * radius - z), y / radius], 1)
    triangles = np.array(Delaunay(flat).simplices, np.int64)
    backward = _doubled_area(flat[triangles]) < 0
    triangles[backward] = triangles[backward][:, ::-1]
    return triangles


def _doubled_area(corners: Array) -> Array:
    """Of (T, 3, 2) triangles; positive for clockwise ones on the image."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


@dataclass(frozen=True)
class Lifted:
    """A photographed face with depth; coordinates are pixels, z grows away from the camera."""

    mesh: Array  # (468, 3)
    landmarks: Array  # (98, 3)
    misfit: float  # root mean square distance from the mean head / the mesh's height

    @classmethod
    def of(cls, head: Head, mesh: Array, landmarks: Array) -> "Lifted":
        """The depth is that of the mean head, fitted to the mesh (468 or more, 2)."""
        mesh = mesh[:MESH].astype(np.float32)
        middle = mesh.mean(0)
        affine = (mesh - middle).T @ head.mesh @ np.linalg.inv(head.mesh.T @ head.mesh)  # (2, 3)
        left, sizes, right = np.linalg.svd(affine, full_matrices=False)
        turn, scale = left @ right, float(sizes.mean())
        off = head.mesh @ turn.T * scale - (mesh - middle)
        misfit = float(np.sqrt((off**2).sum(1).mean()) / np.ptp(mesh[:, 1]))
        away = np.asarray(scale * np.cross(turn[0], turn[1]), np.float32)
        return cls(
            _with_depth(mesh, head.mesh @ away),
            _with_depth(landmarks, head.landmarks @ away),
            misfit,
        )


def _with_depth(points: Array, depth: Array) -> Array:
    """(N, 2) and (N,) to (N, 3)."""
    return np.concatenate([points, depth[:, None]], 1, dtype=np.float32)


def turned_face(
    image: Images,
    face: Lifted,
    triangles: NDArray[np.int64],
    euler: Array,
    after: Array,
    proportions: Proportions = ITS_OWN,
) -> tuple[Images, Array]:
    """The head turned from ``euler`` to ``after``; image and landmarks (98, 2).

    ``image`` (S, S, 3) and the face in its pixels; ``euler`` and ``after`` (3,) are yaw, pitch and
    roll in radians, the yaw further aside than before. Landmarks that the head hides are moved to
    its outline.
    """
    low, high = face.mesh[:, :2].min(0), face.mesh[:, :2].max(0)
    centre = (low + high) / 2
    upright, turned = _rotation(euler), _rotation(after).T
    height = float(np.ptp(face.mesh[:, 1]))
    mesh, points = (
        proportions.of((p - face.mesh.mean(0)) @ upright, height) @ turned
        for p in (face.mesh, face.landmarks)
    )
    shift = centre - (mesh[:, :2].min(0) + mesh[:, :2].max(0)) / 2
    mesh[:, :2] += shift
    points[:, :2] += shift

    size = image.shape[0]
    onto, where = _onto_surface(mesh, face.mesh, triangles, size)
    before = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(face.mesh[:, :2].round().astype(np.int32))
    cv2.fillConvexPoly(before, hull, 1)
    side = float(np.sign(after[0]))  # where the head's back is: right of the face if positive
    more = float(after[0] - euler[0])
    around = _around(_reach(before, centre), _reach(where, centre), centre, side, more, size)
    source = np.where(where[..., None] > 0, onto, around).astype(np.float32)
    drawn = cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(drawn, (3, 3), 0)
    kernel = np.ones((3, 3), np.uint8)
    seam = cv2.dilate(where, kernel) > cv2.erode(where, kernel)
    blended: Images = np.where(seam[..., None], soft, drawn).astype(np.uint8)
    return blended, _on_outline(points[:, :2], where, side)


def _rotation(euler: Array) -> Array:
    return rotation_from_euler(*(float(a) for a in euler)).astype(np.float32)


def _onto_surface(
    mesh: Array, source: Array, triangles: NDArray[np.int64], size: int
) -> tuple[Array, NDArray[np.uint8]]:
    """Where each pixel of the turned mesh is in the source (S, S, 2), and which show it (S, S).

    Near triangles are drawn over far ones; those that look away are left out.
    """
    corners = mesh[triangles]  # (T, 3, 3)
    facing = np.flatnonzero(_doubled_area(corners[..., :2]) > 0.02)
    order = facing[np.argsort(-corners[facing, :, 2].mean(1))]
    flat = corners[order][..., :2] - 0.5  # cv2 addresses pixel centres, labels pixel edges
    which = np.full((size, size), -1, np.int32)
    for k, corner in enumerate((flat * 16).round().astype(np.int32)):
        cv2.fillConvexPoly(which, corner, k, cv2.LINE_8, 4)
    ones = np.ones((len(flat), 3, 1), np.float32)
    affine = np.linalg.solve(
        np.concatenate([flat, ones], 2), source[triangles[order]][..., :2] - 0.5
    )
    y, x = np.nonzero(which >= 0)
    chosen = affine[which[y, x]]  # (pixels, 3, 2)
    onto = np.zeros((size, size, 2), np.float32)
    onto[y, x] = x[:, None] * chosen[:, 0] + y[:, None] * chosen[:, 1] + chosen[:, 2]
    return onto, (which >= 0).astype(np.uint8)


def _reach(mask: NDArray[np.uint8], centre: Array) -> Array:
    """How far the mask reaches from the centre, in pixels, in each of DIRECTIONS (from x on)."""
    longest = int(np.hypot(*mask.shape)) + 1
    polar = cv2.warpPolar(
        mask,
        (longest, DIRECTIONS),
        (float(centre[0]) - 0.5, float(centre[1]) - 0.5),
        longest,
        cv2.INTER_NEAREST | cv2.WARP_FILL_OUTLIERS,
    )
    reach = np.where(polar > 0, np.arange(longest), 0).max(1).astype(np.float32)
    weights = np.exp(-0.5 * (np.arange(-6, 7) / 2.5) ** 2)
    ringed = np.concatenate([reach[-6:], reach, reach[:6]])
    return np.convolve(ringed, weights / weights.sum(), "valid").astype(np.float32)


def _around(
    before: Array, after: Array, centre: Array, side: float, more: float, size: int
) -> Array:
    """Where the pixels around the face come from (S, S, 2), so that no gap is left.

    Along each ray from the centre, what was between the old outline's reach and the border is
    spread between the new outline's and the border; on the head's back's side the hair next to
    the face is widened most, as more of it comes into view.
    """
    x, y = np.meshgrid(*(np.arange(size, dtype=np.float32) + 0.5 - c for c in centre))
    radius, angle = np.hypot(x, y) + 1e-6, np.arctan2(y, x)
    ray = (angle / (2 * np.pi) * DIRECTIONS).round().astype(int) % DIRECTIONS
    cos, sin = x / radius, y / radius
    with np.errstate(divide="ignore"):
        across = np.where(cos > 0, size - centre[0], centre[0]) / np.abs(cos)
        along = np.where(sin > 0, size - centre[1], centre[1]) / np.abs(sin)
    border = np.maximum(np.minimum(across, along), np.maximum(before, after)[ray] + 1)
    share = np.clip((radius - after[ray]) / (border - after[ray]), 0, 1)
    bend = 0.6 * np.clip(cos * side, 0, 1) * min(abs(more) / np.radians(MOST), 1)
    share = (1 - bend) * share + bend * share**2
    drawn = before[ray] + share * (border - before[ray])
    return np.stack([centre[0] + cos * drawn - 0.5, centre[1] + sin * drawn - 0.5], -1)


def _on_outline(points: Array, where: NDArray[np.uint8], side: float) -> Array:
    """Points (98, 2) with the far contour on the outline, and nothing beyond it on that side."""
    rows = np.flatnonzero(where.any(1))
    filled = where[rows] > 0
    first, last = filled.argmax(1), where.shape[1] - filled[:, ::-1].argmax(1)
    row = np.clip(np.searchsorted(rows, points[:, 1].astype(int)), 0, len(rows) - 1)
    moved = points.copy()
    far = np.arange(CONTOUR) < CONTOUR // 2
    if side > 0:
        moved[:, 0] = np.maximum(points[:, 0], first[row])
        moved[:CONTOUR, 0] = np.where(far, first[row[:CONTOUR]], moved[:CONTOUR, 0])
    else:
        moved[:, 0] = np.minimum(points[:, 0], last[row])
        moved[:CONTOUR, 0] = np.where(far[::-1], last[row[:CONTOUR]], moved[:CONTOUR, 0])
    return moved


def fit_to_turn(faces: Faces, meshes: Array) -> NDArray[np.int64]:
    """Rows of faces that look aside far enough, and are known well enough, to be turned on."""
    yaw, pitch, roll = np.degrees(np.abs(faces.euler)).T
    known = np.isfinite(meshes).all((1, 2)) & np.isfinite(faces.euler).all(1)
    aside = (yaw >= FROM_YAW) & (yaw <= TO_YAW) & (np.maximum(pitch, roll) <= TILTED)
    clear = (faces.face_px >= SMALLEST_PX) & (faces.spread <= DOUBTFUL) & (faces.weight > 0)
    return np.flatnonzero(known & aside & clear & ~np.isin(faces.source, LEFT_ALONE))


def profiles(faces: Faces, meshes: Array, count: int, seed: int = 0) -> Faces:
    """At most ``count`` synthesised faces, labelled with their pose and landmarks.

    ``meshes`` (N, 478, 2) in pixels of the crops, NaN where absent. The same arguments give the
    same faces; none where no face fits.
    """
    rng = np.random.default_rng(seed)
    rows = fit_to_turn(faces, meshes)
    if not len(rows):
        return faces.where(np.zeros(len(faces), bool))
    head = learned(faces, meshes, rng)
    weight = faces.weight[rows] / faces.weight[rows].sum()
    made, used = [], []
    for i in tqdm(rng.choice(rows, count, p=weight), desc="turning faces", unit="face"):
        lifted = Lifted.of(head, meshes[i], faces.points[i])
        euler = faces.euler[i]
        after = euler + np.array([_how_far(rng, float(np.degrees(euler[0]))), 0, 0], np.float32)
        if lifted.misfit > MISSHAPEN:
            continue
        image, points = turned_face(faces.images[i], lifted, head.triangles, euler, after)
        made.append((image, points, after))
        used.append(i)
    return remade(faces, used, made)


def remade(faces: Faces, rows: list[int], made: list[tuple[Images, Array, Array]]) -> Faces:
    """The faces of these rows with another image, other landmarks and another euler each."""
    chosen = Faces(**{name: value[rows] for name, value in vars(faces).items()})
    return replace(
        chosen,
        images=np.array([m[0] for m in made], np.uint8).reshape(-1, *faces.images.shape[1:]),
        points=np.array([m[1] for m in made], np.float32).reshape(-1, 98, 2),
        euler=np.array([m[2] for m in made], np.float32).reshape(-1, 3),
    )


def _how_far(rng: Generator, yaw: float) -> float:
    """Radians to turn on by, away from frontal, a head that looks ``yaw`` degrees aside."""
    most = min(MOST, LAST - abs(yaw))
    return float(np.sign(yaw) * np.radians(rng.triangular(LEAST, most, most)))


def learned(faces: Faces, meshes: Array, rng: Generator, most: int = 1000) -> Head:
    """The mean head of some faces with a mesh, those that look aside as often as the others."""
    known = np.flatnonzero(np.isfinite(meshes).all((1, 2)) & np.isfinite(faces.mesh).all(1))
    turned = np.abs(faces.mesh[known, 0]) > np.radians(FROM_YAW)
    share = np.where(turned, 1 / max(turned.sum(), 1), 1 / max((~turned).sum(), 1))
    rows = rng.choice(known, min(most, len(known)), replace=False, p=share / share.sum())
    rotations = np.stack([_rotation(e) for e in faces.mesh[rows]])
    return mean_head(meshes[rows], faces.points[rows], rotations)

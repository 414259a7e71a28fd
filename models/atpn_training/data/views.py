"""Few photographs seen from all sides, of other proportions and under masks.

A thousand portraits that look into the camera (`--open-only`) show neither profiles nor lowered
heads, infants nor masks. Here the heads of `profiles` are turned from wherever they look, the shape
follows the mean head where a face has no mesh, and a mask is drawn over some.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from atpn_training.data.augment import patch_of
from atpn_training.data.faces import Faces
from atpn_training.data.images import Array, Images
from atpn_training.data.labels import DOUBTFUL
from atpn_training.data.profiles import (
    LAST,
    MISSHAPEN,
    Lifted,
    Proportions,
    learned,
    remade,
    turned_face,
)

VIEWS = "views"  # their source
SHARE = 0.4  # of an openly licensed run's samples

#: Degrees. Heads are turned on by at most MOST of yaw, and up or down by about TILT.
MOST, TILT, MOST_TILT = 75.0, 12.0, 40.0
STILL = 0.25  # of the views keep their yaw
WIDTH, DEPTH, CHIN = 0.07, 0.1, 0.15  # how much proportions vary (standard deviations)
MASKS = 0.25  # of the views wear one
NOSE = slice(51, 55)  # landmarks: the bridge, from the eyes down to the tip


def views(faces: Faces, meshes: Array, count: int, seed: int = 0) -> Faces:
    """At most ``count`` synthesised faces, labelled with their pose and landmarks.

    Each face of weight is turned equally often. ``meshes`` (N, 478, 2) in pixels of the crops, NaN
    where absent; ValueError if all are. The same arguments give the same faces.
    """
    rng = np.random.default_rng(seed)
    if not np.isfinite(meshes).all((1, 2)).any():
        raise ValueError("no face has a mesh: mesh.npz is needed to turn heads")
    head = learned(faces, meshes, rng)
    clear = np.isfinite(faces.euler).all(1) & (faces.spread <= DOUBTFUL) & (faces.weight > 0)
    rows = np.flatnonzero(clear)
    made, used = [], []
    for i in tqdm(rng.choice(rows, count), desc="turning faces", unit="face"):
        known = np.isfinite(meshes[i]).all()
        mesh = meshes[i] if known else head.mesh_of(faces.points[i])
        face = Lifted.of(head, mesh, faces.points[i])
        after, shape = turned_on(rng, faces.euler[i]), varied(rng)
        cover = patch_of(rng, faces.images[rng.choice(rows)], *faces.images.shape[1:3])
        if face.misfit > MISSHAPEN:
            continue
        euler = faces.euler[i]
        image, points = turned_face(faces.images[i], face, head.triangles, euler, after, shape)
        if rng.random() < MASKS:
            image = masked(rng, image, points, cover)
        made.append((image, points, after))
        used.append(int(i))
    found = remade(faces, used, made)
    return replace(found, weight=np.ones(len(found), np.float32), source=np.full(len(found), VIEWS))


def turned_on(rng: Generator, euler: Array) -> Array:
    """Where a head is to look that looks to ``euler`` (3,), in radians: never less far aside."""
    yaw, pitch, roll = np.degrees(euler)
    side = np.sign(yaw) if abs(yaw) > 5 else rng.choice([-1.0, 1.0])
    most = 0.0 if rng.random() < STILL else max(min(MOST, LAST - abs(yaw)), 0.0)
    tilt = np.clip(pitch + rng.normal(0, TILT), -MOST_TILT, MOST_TILT)
    return np.radians([yaw + side * rng.uniform(0, most), tilt, roll]).astype(np.float32)


def varied(rng: Generator) -> Proportions:
    """Proportions of somebody else; shorter chins, as infants have, as often as longer ones."""
    width, depth = np.exp(rng.normal(0, [WIDTH, DEPTH]))
    return Proportions(float(width), float(depth), float(np.clip(rng.normal(0, CHIN), -0.4, 0.3)))


def masked(rng: Generator, image: Images, points: Array, cover: Images) -> Images:
    """The face with a mask over nose, mouth and chin: one colour or a pattern, lit as the face."""
    high = int(rng.integers(3, 8))  # of the contour's points, counted from the ears
    top = points[NOSE][rng.integers(1, 3)]
    outline = np.concatenate([points[high : 33 - high], top[None]])
    worn: Images = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(worn, [(outline * 16).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
    share = cv2.GaussianBlur(worn, (3, 3), 0).astype(np.float32)[..., None] / 255
    cloth: Array = cover.astype(np.float32)
    if rng.random() < 0.7:
        cloth = np.broadcast_to(_cloth(rng), image.shape)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    light: Array = cv2.GaussianBlur(grey, (0, 0), 6).astype(np.float32)
    light = light / max(float(light[worn > 0].mean()) if worn.any() else 1.0, 1.0)
    lit = np.clip(cloth * light[..., None] ** 0.7, 0, 255)
    wearing: Images = (image * (1 - share) + lit * share).astype(np.uint8)
    return wearing


def _cloth(rng: Generator) -> Array:
    """White, surgical blue, black or anything else."""
    usual = np.array([[225, 228, 230], [150, 190, 210], [35, 35, 38]], np.float32)
    plain = usual[rng.integers(3)] if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    return np.clip(plain + rng.normal(0, 10, 3), 0, 255).astype(np.float32)

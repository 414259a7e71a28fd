"""What is done to a crop before the network sees it in training.

The paper (section 4.1) names translation, rotation, flip, channel shuffle and transform, and
mix-up with background; blur, low resolution, JPEG, noise, shadow and occluders are ours.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from atpn.geometry import CROP_SIZE, mirrored_pose, turned_pose
from atpn.landmarks import MIRROR
from atpn_training.data.images import FRAMED

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

BLACK = 8  # below this a pixel may lie outside the photograph
LEAST_OUTSIDE = 0.01  # of the crop's pixels
LEFT_BLACK = 0.5  # of the crops


@dataclass(frozen=True)
class Sample:
    """One training crop: image (112, 112, 3) RGB, points (98, 2) in units of its side."""

    image: Image
    points: Array
    euler: Array  # (3,) yaw, pitch, roll in radians


def mirrored(image: Image, points: Array, euler: Array) -> tuple[Image, Array, Array]:
    """The mirror image, its points renumbered, its yaw and roll negated."""
    flipped = points[MIRROR].copy()
    flipped[:, 0] = image.shape[1] - flipped[:, 0]
    return image[:, ::-1], flipped, mirrored_pose(euler)


def rolled(euler: Array, angle: float) -> Array:
    """The head's angles after the picture is turned clockwise by ``angle`` radians."""
    if not np.isfinite(euler).all():
        return euler
    return turned_pose(euler, angle)


def random_crop(rng: Generator, image: Image, points: Array, euler: Array) -> Sample:
    """Rotate, stretch, move and scale as an imperfect ROI would; points follow.

    60 % of the ROIs are those of tracking (the last frame's landmarks, slightly moved), the
    others those of a detector (larger error of centre and size).
    """
    if rng.random() < 0.5:
        image, points, euler = mirrored(image, points, euler)
    kind = rng.random()
    if kind < 0.05:  # a head on a pillow
        angle = rng.uniform(-1.7, 1.7)
    else:  # most are seen upright, as tracking and the second look do
        angle = rng.uniform(-0.7, 0.7) if kind < 0.28 else rng.normal(0, 0.14)
    tracking = rng.random() < 0.6
    move, grow = (0.03, 0.06) if tracking else (0.07, 0.14)
    stretch = np.exp(rng.normal(0, 0.04))
    shear = rng.normal(0, 0.03)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, shear], [0, 1 / stretch]])
    turned = points @ linear.T.astype(np.float32)
    low, high = turned.min(0), turned.max(0)
    side = (high - low).max() * FRAMED * np.exp(rng.normal(0, grow))
    centre = (low + high) / 2 + rng.normal(0, move, 2) * side
    scale = CROP_SIZE / side
    matrix = np.concatenate([linear * scale, (CROP_SIZE / 2 - centre * scale)[:, None]], 1)
    # cv2 addresses pixel centres, labels address pixel edges.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    border = rng.choice([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101])
    fill = [float(v) for v in rng.integers(0, 256, 3)] if rng.random() < 0.3 else [0.0] * 3
    warped = cv2.warpAffine(
        image, matrix, (CROP_SIZE, CROP_SIZE), borderMode=int(border), borderValue=fill
    )
    moved = ((turned - centre) * scale + CROP_SIZE / 2) / CROP_SIZE
    return Sample(
        warped.astype(np.uint8, copy=False), moved.astype(np.float32), rolled(euler, turn(linear))
    )


def turn(linear: NDArray[np.float64]) -> float:
    """The rotation in a linear map (2, 2), radians clockwise: shear turns a picture, too."""
    return float(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))


def outside(image: Image) -> NDArray[np.bool_]:
    """What of a stored crop (H, W) lies outside its photograph: black that reaches the edge."""
    black = (image.max(2) < BLACK).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(black, connectivity=4)
    edges = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    large = stats[:, cv2.CC_STAT_AREA] >= LEAST_OUTSIDE * black.size
    found = [part for part in np.unique(edges) if part > 0 and large[part]]
    beside = cv2.dilate(np.isin(parts, found).astype(np.uint8), np.ones((5, 5), np.uint8))
    return beside > 0  # with JPEG's ringing beside it


def filled(rng: Generator, image: Image, background: Image) -> Image:
    """The crop with something else outside of its photograph, or left as it is.

    Else the black that frames a third of the faces would be a sign of faces.
    """
    if rng.random() < LEFT_BLACK:
        return image
    mask = outside(image)
    if not mask.any():
        return image
    height, width = mask.shape
    if rng.random() < 0.3:
        cover = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), image.shape)
    else:
        cover = patch_of(rng, background, width, height)
    return np.where(mask[..., None], cover, image)


def within_frame(rng: Generator, image: Image) -> Image:
    """As if the photograph ended within the crop: black, or one colour, beside it."""
    beside = rng.uniform(0, 0.25, 4) * (rng.random(4) < 0.7)
    coloured = rng.random() < 1 - LEFT_BLACK
    return framed(image, beside, rng.integers(0, 256, 3) if coloured else 0)


def framed(image: Image, beside: NDArray[np.float64], colour: NDArray[np.int64] | int) -> Image:
    """A crop with a frame; ``beside``: its width at top, bottom, left and right, in crop sides."""
    height, width = image.shape[:2]
    top, bottom = int(beside[0] * height), height - int(beside[1] * height)
    left, right = int(beside[2] * width), width - int(beside[3] * width)
    whole = np.zeros_like(image)
    whole[:] = colour
    whole[top:bottom, left:right] = image[top:bottom, left:right]
    return whole


def recoloured(rng: Generator, image: Image) -> Image:
    """Channel shuffle and per-channel transform (gain, offset, gamma, inversion) in one table."""
    if rng.random() < 0.15:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.12:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    ramp = np.arange(256, dtype=np.float32)[:, None] / 255
    strength = 0.35 if rng.random() < 0.25 else 0.08  # strong: colour filters, painted faces
    gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, strength, 3))
    gamma = np.exp(rng.normal(0, 0.2) + rng.normal(0, strength / 2, 3))
    offset = rng.normal(0, 0.06) + rng.normal(0, strength / 3, 3)
    curve = gain * ramp**gamma + offset
    if rng.random() < 0.02:
        curve = 1 - curve
    table = (np.clip(curve, 0, 1) * 255).astype(np.uint8)  # (256, 3)
    return cv2.LUT(np.ascontiguousarray(image), table.reshape(1, 256, 3)).astype(np.uint8)


def shaded(rng: Generator, image: Image) -> Image:
    """A soft shadow or light across the face."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-1, 1, image.shape[0], dtype=np.float32)
    ramp = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None] - rng.uniform(-0.6, 0.6)
    edge = 1 / (1 + np.exp(-ramp * rng.uniform(2, 12)))
    light = 1 - edge * rng.uniform(0.2, 0.8)
    shade: Image = (image * light[..., None]).astype(np.uint8)
    return shade


def patch_of(rng: Generator, background: Image, width: int, height: int) -> Image:
    """A random part of a photograph, resized to (height, width)."""
    h, w = background.shape[:2]
    side = int(rng.uniform(0.2, 0.9) * min(h, w))
    x, y = rng.integers(0, w - side + 1), rng.integers(0, h - side + 1)
    part = background[y : y + side, x : x + side]
    return cv2.resize(part, (width, height)).astype(np.uint8)


def occluded(rng: Generator, image: Image, background: Image) -> Image:
    """Cover part of the face with an ellipse or a rectangle of something else."""
    size = image.shape[0]
    w, h = (int(v) for v in rng.uniform(0.12, 0.5, 2) * size)
    cx, cy = (int(v) for v in rng.uniform(0.1, 0.9, 2) * size)
    mask = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        cv2.ellipse(mask, (cx, cy), (w // 2, h // 2), rng.uniform(0, 180), 0, 360, 1, -1)
    else:
        cv2.rectangle(mask, (cx - w // 2, cy - h // 2), (cx + w // 2, cy + h // 2), 1, -1)
    if rng.random() < 0.4:
        cover = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), image.shape)
    else:
        cover = patch_of(rng, background, size, size)
    return np.where(mask[..., None] > 0, cover, image)


def moving(rng: Generator, image: Image) -> Image:
    """Motion blur of 3 to 11 pixels, as far on one side of each pixel as on the other."""
    half = int(rng.integers(1, 6))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    angle = rng.uniform(0, np.pi)
    end = round(half + half * np.cos(angle)), round(half + half * np.sin(angle))
    cv2.line(kernel, (half, half), end, 1.0)
    kernel += kernel[::-1, ::-1]
    return cv2.filter2D(image, -1, kernel / float(kernel.sum())).astype(np.uint8)


def degraded(rng: Generator, image: Image) -> Image:
    """Blur, low resolution, sensor noise or JPEG, as cameras and networks make them."""
    size = image.shape[0]
    kind = rng.random()
    if kind < 0.12:
        small = int(rng.uniform(20, 80))
        down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(down, (size, size)).astype(np.uint8)
    elif kind < 0.2:
        sigma = rng.uniform(0.5, 2.5)
        image = cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8)
    elif kind < 0.26:
        image = moving(rng, image)
    if rng.random() < 0.12:
        noise = rng.normal(0, rng.uniform(2, 16), (*image.shape[:2], 1))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.12:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 70))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
        image = np.asarray(decoded, np.uint8)
    return image


def disturbed(rng: Generator, image: Image, backgrounds: list[Image]) -> Image:
    """All changes that leave the geometry alone."""
    if rng.random() < 0.2:
        image = occluded(rng, image, backgrounds[rng.integers(len(backgrounds))])
    if rng.random() < 0.15:
        background = backgrounds[rng.integers(len(backgrounds))]
        other = patch_of(rng, background, image.shape[1], image.shape[0])
        share = rng.uniform(0.05, 0.4)
        image = cv2.addWeighted(image, 1 - share, other, share, 0).astype(np.uint8)
    image = recoloured(rng, image)
    if rng.random() < 0.2:
        image = shaded(rng, image)
    return degraded(rng, image)

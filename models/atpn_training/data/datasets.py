"""Readers of the paper's test sets in the formats in which their authors publish them.

Each reader checks what it reads and names the file and the line (or entry) that is wrong.
Coordinates are pixels with the origin at the corner of the first pixel, as everywhere here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from atpn.geometry import Box
from atpn_training.data.images import Array
from atpn_training.score.following import VIDEOS


class DatasetError(ValueError):
    """A data set's file that is missing or not in its format."""


def _missing(path: Path, what: str) -> DatasetError:
    return DatasetError(f"{path} does not exist: expected {what}")


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise DatasetError(f"{where}: {path} does not exist")
    return path


def _lines(path: Path, what: str) -> list[str]:
    if not path.is_file():
        raise _missing(path, what)
    return path.read_text().splitlines()


def _numbers(words: list[str], where: str) -> Array:
    try:
        found = np.array([float(w) for w in words], np.float32)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
    if not np.isfinite(found).all():
        raise DatasetError(f"{where}: a coordinate is not a number")
    return found


# --- WFLW (Wu et al., CVPR 2018) ---------------------------------------------------------

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
WFLW_WORDS = 98 * 2 + 4 + len(ATTRIBUTES) + 1


@dataclass(frozen=True)
class WflwFace:
    """One line of ``list_98pt_rect_attr_{train,test}.txt``."""

    image: Path
    points: Array  # (98, 2)
    box: Box
    attributes: frozenset[str]  # of `ATTRIBUTES`, those that are marked as hard


def read_wflw(root: Path, split: str = "test") -> list[WflwFace]:
    """The faces of one split (``train`` or ``test``) below the folder with both archives.

    That is ``WFLW_images/`` and ``WFLW_annotations/list_98pt_rect_attr_train_test/``.
    """
    name = f"list_98pt_rect_attr_{split}.txt"
    path = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test" / name
    faces = []
    for number, line in enumerate(_lines(path, "WFLW's annotations"), 1):
        where, words = f"{path}:{number}", line.split()
        if not words:
            continue
        if len(words) != WFLW_WORDS:
            raise DatasetError(f"{where}: {len(words)} words, not {WFLW_WORDS}")
        values = _numbers(words[:200], where)
        marks = words[200:206]
        if not set(marks) <= {"0", "1"}:
            raise DatasetError(f"{where}: attributes must be 0 or 1, not {' '.join(marks)}")
        hard = frozenset(a for a, mark in zip(ATTRIBUTES, marks, strict=True) if mark == "1")
        image = _existing(root / "WFLW_images" / words[206], where)
        box = Box(*(float(v) for v in values[196:200]))
        faces.append(WflwFace(image, values[:196].reshape(98, 2), box, hard))
    if not faces:
        raise DatasetError(f"{path} has no faces")
    return faces


# --- 300W-LP and AFLW2000-3D (Zhu et al., CVPR 2016) -------------------------------------

LARGEST_ANGLE = np.radians(99)  # AFLW2000's few faces beyond are left out, as by everyone


@dataclass(frozen=True)
class PosedFace:
    """One picture with its ``.mat`` file."""

    image: Path
    points: Array  # (68, 2)
    euler: Array  # (3,) yaw, pitch, roll in radians


def read_posed(path: Path) -> PosedFace:
    """A ``.mat`` file with ``Pose_Para`` and 68 points, and the picture of its name."""
    try:
        content: dict[str, Any] = loadmat(path)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError) as error:
        raise DatasetError(f"{path}: not a readable .mat file ({error})") from error
    pose = np.asarray(content.get("Pose_Para", []), np.float32).ravel()
    if pose.size != 7 or not np.isfinite(pose).all():
        raise DatasetError(f"{path}: Pose_Para must have 7 numbers")
    # AFLW2000's pt2d are AFLW's 21 points, many of them unknown.
    name = "pt3d_68" if "pt3d_68" in content else "pt2d"
    points = np.asarray(content.get(name, []), np.float32)
    if points.ndim != 2 or points.shape[0] < 2 or points.shape[1] != 68:
        raise DatasetError(f"{path}: {name} must be 2 or 3 rows of 68, not {points.shape}")
    pitch, yaw, roll = pose[:3]
    image = _existing(path.with_suffix(".jpg"), str(path))
    return PosedFace(image, points[:2].T.copy(), np.array([yaw, pitch, roll], np.float32))


def read_aflw2000(folder: Path) -> list[PosedFace]:
    """AFLW2000-3D without the faces beyond 99 degrees in any angle."""
    faces = [read_posed(p) for p in _mat_files(folder)]
    return [f for f in faces if (np.abs(f.euler) <= LARGEST_ANGLE).all()]


def read_300wlp_test(root: Path, helen_test: Path | None = None) -> dict[str, list[PosedFace]]:
    """300W-LP's faces of 300W's test pictures: ``common`` (LFPW, HELEN) and ``challenging``.

    HELEN's file names do not tell test from training: ``helen_test`` lists the names of 300W's
    ``helen/testset`` pictures, one a line; without it HELEN is left out. Mirrored copies (the
    folders ``*_Flip``) are not read.
    """
    common = [p for p in _mat_files(root / "LFPW") if "_test_" in p.name]
    if helen_test is not None:
        listed = {Path(n).stem for n in _lines(helen_test, "the names of HELEN's test pictures")}
        common += [p for p in _mat_files(root / "HELEN") if _origin(p) in listed]
    return {
        "common": [read_posed(p) for p in common],
        "challenging": [read_posed(p) for p in _mat_files(root / "IBUG")],
    }


def _origin(path: Path) -> str:
    """``HELEN_296814969_3_0`` is the first (unturned) rendering of ``296814969_3``."""
    return path.stem.removeprefix("HELEN_").rsplit("_", 1)[0]


def _mat_files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.mat"))
    if not found:
        raise _missing(folder, "a folder of .jpg and .mat files")
    return found


# --- WIDER FACE (Yang et al., CVPR 2016) -------------------------------------------------

WIDER_NUMBERS = 10  # x, y, width, height, blur, expression, illumination, invalid, occlusion, pose


@dataclass(frozen=True)
class WiderImage:
    """One picture with all its faces."""

    image: Path
    boxes: tuple[Box, ...]  # every face, also those that are marked as invalid
    valid: tuple[bool, ...]


def read_wider(root: Path, split: str = "val") -> list[WiderImage]:
    """The pictures of one split: ``WIDER_<split>/images`` and ``wider_face_split``."""
    path = root / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
    lines = _lines(path, "WIDER FACE's annotations")
    images, at = [], 0
    while at < len(lines):
        name = lines[at].strip()
        if not name:
            at += 1
            continue
        image = _existing(root / f"WIDER_{split}" / "images" / name, f"{path}:{at + 1}")
        count = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if not count.isdigit():
            raise DatasetError(f"{path}:{at + 2}: expected the number of faces, not {count!r}")
        first, rows = at + 2, max(1, int(count))  # without faces there is a row of zeros
        if first + rows > len(lines):
            raise DatasetError(f"{path}:{len(lines)}: the file ends within {name}")
        faces = [_wider_face(lines[k], f"{path}:{k + 1}") for k in range(first, first + rows)]
        kept = [(b, ok) for b, ok in faces if b.width > 0 and b.height > 0]
        images.append(WiderImage(image, tuple(b for b, _ in kept), tuple(ok for _, ok in kept)))
        at = first + rows
    if not images:
        raise DatasetError(f"{path} has no pictures")
    return images


def _wider_face(line: str, where: str) -> tuple[Box, bool]:
    words = line.split()
    if len(words) != WIDER_NUMBERS:
        raise DatasetError(f"{where}: {len(words)} numbers, not {WIDER_NUMBERS}")
    x, y, width, height, _, _, _, invalid, _, _ = (float(v) for v in _numbers(words, where))
    return Box(x, y, x + width, y + height), invalid == 0


# --- 300VW (Shen et al., ICCV workshops 2015) --------------------------------------------

#: The test videos: A well lit, B unconstrained, C completely unconstrained.
CATEGORIES_300VW = {
    "A": (
        *(114, 124, 125, 126, 150, 158, 401, 402, *range(505, 512), 514, 515),
        *(*range(518, 523), 524, 525, 537, 538, 540, 541, 546, 547, 548),
    ),
    "B": (203, 208, 211, 212, 213, 214, 218, 224, *range(403, 410), 412, 550, 551, 553),
    "C": (410, 411, 516, 517, 526, 528, 529, 530, 531, 533, 557, 558, 559, 562),
}


@dataclass(frozen=True)
class AnnotatedVideo:
    """One folder: the video and its frames' annotations by frame number, from 0."""

    category: str
    name: str
    video: Path
    annotations: dict[int, Path]


def read_300vw(root: Path) -> Iterator[AnnotatedVideo]:
    """The test videos that are there, by category; DatasetError if there is none."""
    found = 0
    for category, numbers in CATEGORIES_300VW.items():
        for number in numbers:
            folder = root / f"{number:03}"
            if not folder.is_dir():
                continue
            videos = [p for p in sorted(folder.glob("vid.*")) if p.suffix.lower() in VIDEOS]
            if not videos:
                raise _missing(folder / "vid.avi", "the video of the folder")
            annotations = {_frame(p) - 1: p for p in sorted((folder / "annot").glob("*.pts"))}
            if not annotations:
                raise _missing(folder / "annot", "its annotations, one .pts file a frame")
            found += 1
            yield AnnotatedVideo(category, folder.name, videos[0], annotations)
    if not found:
        raise _missing(root, "300VW's numbered folders (114, 124 ...), each with vid.avi and annot")


def _frame(path: Path) -> int:
    if not path.stem.isdigit():
        raise DatasetError(f"{path}: the name must be the frame's number")
    return int(path.stem)


def read_pts(path: Path) -> Array:
    """The 68 points (68, 2) of a ``.pts`` file, whose first pixel's centre is (1, 1)."""
    lines = [line.strip() for line in _lines(path, "a .pts file")]
    if "{" not in lines or "}" not in lines:
        raise DatasetError(f"{path}: the points must stand between {{ and }}")
    first, last = lines.index("{") + 1, lines.index("}")
    points = []
    for number, line in enumerate(lines[first:last], first + 1):
        words = line.split()
        if len(words) != 2:
            raise DatasetError(f"{path}:{number}: {len(words)} numbers, not 2")
        points.append(_numbers(words, f"{path}:{number}"))
    if len(points) != 68:
        raise DatasetError(f"{path}:{last + 1}: {len(points)} points, not 68")
    return np.stack(points) - np.float32(0.5)

"""The 98-point scheme: its mirror image, its subsets and its contours."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from atpn.landmarks import (
    CONTOURS,
    EXACT_68,
    LEFT_EYE_OUTER,
    LEFT_PUPIL,
    MESH,
    MIRROR,
    POINTS,
    RIGHT_EYE_OUTER,
    RIGHT_PUPIL,
    subset,
    to_5,
    to_68,
    to_mesh,
)

Points = NDArray[np.float32]
COMING_FROM = Path(__file__).resolve().parents[1] / "docs" / "coming_from.md"


def numbered() -> Points:
    """Point ``i`` at (i, 1000 + i)."""
    i = np.arange(POINTS, dtype=np.float32)
    return np.stack([i, 1000 + i], 1)


def of(name: str) -> set[int]:
    """The point numbers of a contour."""
    first, end, _ = CONTOURS[name]
    return set(range(first, end))


def test_the_mirror_of_the_mirror_is_the_face_itself() -> None:
    assert np.array_equal(MIRROR[MIRROR], np.arange(POINTS))


def test_the_points_on_the_middle_of_the_face_stay_in_the_mirror() -> None:
    middle = np.flatnonzero(np.arange(POINTS) == MIRROR)
    assert middle.tolist() == [16, 51, 52, 53, 54, 57, 79, 85, 90, 94]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_brow", "right_brow"),
        ("left_eye", "right_eye"),
        ("jaw", "jaw"),
        ("nose_base", "nose_base"),
        ("outer_lips", "outer_lips"),
        ("inner_lips", "inner_lips"),
    ],
)
def test_the_mirror_swaps_the_sides_of_the_face(left: str, right: str) -> None:
    assert set(MIRROR[sorted(of(left))]) == of(right)


def test_the_mirror_swaps_pupils_and_outer_eye_corners() -> None:
    assert MIRROR[LEFT_PUPIL] == RIGHT_PUPIL
    assert MIRROR[LEFT_EYE_OUTER] == RIGHT_EYE_OUTER


def test_the_neighbours_on_an_outline_are_neighbours_in_the_mirror() -> None:
    for first, end, closed in CONTOURS.values():
        line = list(range(first, end))
        for a, b in pairwise(line):
            step = abs(int(MIRROR[a]) - int(MIRROR[b]))
            assert step == 1 or (closed and step == end - first - 1)


def test_the_contours_and_the_pupils_are_all_points_once() -> None:
    found = [*sorted(i for name in CONTOURS for i in of(name)), LEFT_PUPIL, RIGHT_PUPIL]
    assert found == list(range(POINTS))


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, 0),  # the jaw's left end
        (8, 16),  # the chin
        (16, 32),  # the jaw's right end
        (17, 33),  # the left brow's outer end
        (26, 46),  # the right brow's outer end
        (27, 51),  # the nose bridge's upper end
        (30, 54),  # the nose's tip
        (36, 60),  # the left eye's outer corner
        (39, 64),  # and its inner
        (42, 68),  # the right eye's inner corner
        (45, 72),  # and its outer
        (48, 76),  # the mouth's left corner
        (54, 82),  # and its right
        (67, 95),  # the last of the inner lips
    ],
)
def test_the_known_points_of_300w_are_in_their_places(index: int, expected: int) -> None:
    assert np.array_equal(to_68(numbered())[index], numbered()[expected])


def test_eyelid_points_of_300w_lie_on_the_lid() -> None:
    """A half circle of three points has those of the 68 within a tenth of its height."""
    angles = np.radians([180, 225, 270, 315, 0, 45, 90, 135])  # clockwise from the left corner
    points = np.zeros((98, 2), np.float32)
    for eye in (slice(60, 68), slice(68, 76)):
        points[eye] = np.stack([np.cos(angles), np.sin(angles)], 1)
    for first in (36, 42):
        six = to_68(points)[first : first + 6]
        assert np.linalg.norm(six, axis=1) == pytest.approx(1, abs=0.1)
        across = np.linalg.norm(six[1] - six[5]) + np.linalg.norm(six[2] - six[4])
        ratio = across / (2 * np.linalg.norm(six[0] - six[3]))  # dlib's users' eye aspect ratio
        assert ratio == pytest.approx(np.sin(np.radians(60)), abs=0.07)


def test_the_exact_points_of_the_68_are_copies() -> None:
    points = to_68(numbered())
    assert len(EXACT_68) == 60
    for index, source in EXACT_68:
        assert np.array_equal(points[index], numbered()[source])


def test_the_five_points_are_pupils_nose_tip_and_mouth_corners() -> None:
    assert to_5(numbered())[:, 0].tolist() == [96, 97, 54, 76, 82]


@pytest.mark.parametrize("count", [98, 68, 5])
@pytest.mark.parametrize("faces", [(), (3,), (2, 4), (0,)])
def test_a_subset_is_taken_of_any_number_of_faces(faces: tuple[int, ...], count: int) -> None:
    many = np.broadcast_to(numbered(), (*faces, POINTS, 2))
    assert subset(many, count).shape == (*faces, count, 2)
    assert subset(many, count).dtype == np.float32


@pytest.mark.parametrize("count", [0, 6, 97, -98])
def test_there_are_no_other_subsets(count: int) -> None:
    with pytest.raises(ValueError, match="98, 68 or 5"):
        subset(numbered(), count)


@pytest.mark.parametrize("count", [68, 5])
def test_the_subsets_of_a_symmetric_face_are_symmetric(count: int) -> None:
    half = np.arange(1, POINTS + 1) * (np.arange(POINTS) < MIRROR)
    x, y = half - half[MIRROR], np.minimum(np.arange(POINTS), MIRROR)
    points = subset(np.stack([x, y], 1).astype(np.float32), count)
    assert sorted(points.tolist()) == sorted((points * (-1, 1)).tolist())


def test_points_have_mediapipes_numbers_where_the_mesh_has_them_and_are_nan_elsewhere() -> None:
    points = np.stack([numbered(), numbered() + 1])
    mesh = to_mesh(points)
    assert mesh.shape == (2, 478, 2)
    for ours, theirs in MESH.items():
        assert np.array_equal(mesh[:, theirs], points[:, ours])
    assert np.isfinite(mesh).all(2).sum(1).tolist() == [len(MESH)] * 2
    assert len(set(MESH.values())) == len(MESH)


def test_the_page_for_those_who_come_from_elsewhere_has_the_pairs_of_the_code() -> None:
    """The mesh's pairs, and which of the 68 points are one of the 98."""
    text = COMING_FROM.read_text()
    cells = re.findall(r"\| (\d+) \| (\d+) \| (\d\.\d) (?=\|)", text)
    assert {int(ours): int(theirs) for ours, theirs, _ in cells} == MESH
    told = text.split("| 68 | 98 | part |\n|---|---|---|\n")[1].split("\n\n")[0]
    pairs: list[tuple[int, int]] = []
    for line in told.splitlines():
        theirs, ours = (numbers(cell) for cell in line.split(" | ")[:2])
        pairs += zip(theirs, ours, strict=True)
    assert sorted(pairs) == EXACT_68


def numbers(cell: str) -> list[int]:
    """``0, 2, \u2026 6`` and ``3\u20135, 9`` as the numbers that they stand for."""
    found: list[int] = []
    step = 1
    for part in cell.strip("| ").split(", "):
        if part.startswith("\u2026"):
            step = found[1] - found[0]
            found += range(found[-1] + step, int(part[2:]) + 1, step)
        else:
            first, _, last = part.partition("\u2013")
            found += range(int(first), int(last or first) + 1)
    return found

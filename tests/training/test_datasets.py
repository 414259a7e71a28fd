"""The readers take the published formats, and name the line that is not in them."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from atpn.geometry import Box
from atpn_training.data.datasets import (
    CATEGORIES_300VW,
    DatasetError,
    read_300vw,
    read_300wlp_test,
    read_aflw2000,
    read_posed,
    read_pts,
    read_wflw,
    read_wider,
)

GRID = np.stack([np.arange(98), np.arange(98) / 2], 1) + 0.25


def wflw_line(name: str, attributes: str = "0 0 0 0 0 0") -> str:
    """A line of WFLW's lists."""
    points = " ".join(f"{v:.6f}" for v in GRID.ravel())
    return f"{points} 10 20 110 140 {attributes} {name}"


def write_wflw(root: Path, *lines: str) -> Path:
    """WFLW's folders with these lines as the test list, and the pictures that they may name."""
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    folder.mkdir(parents=True)
    images = root / "WFLW_images" / "37--Soccer"
    images.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (images / name).touch()
    path = folder / "list_98pt_rect_attr_test.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_line_of_wflw_gives_points_box_and_attributes(tmp_path: Path) -> None:
    line = wflw_line("37--Soccer/b.jpg", "1 0 0 0 1 0")
    write_wflw(tmp_path, wflw_line("37--Soccer/a.jpg"), line)
    plain, hard = read_wflw(tmp_path)
    np.testing.assert_allclose(plain.points, GRID, atol=1e-4)
    assert plain.box == Box(10, 20, 110, 140)
    assert plain.attributes == frozenset()
    assert hard.attributes == {"pose", "occlusion"}
    assert hard.image == tmp_path / "WFLW_images" / "37--Soccer" / "b.jpg"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: line.split(" ", 1)[1], r"206 words, not 207"),
        (lambda line: "x" + line, r"could not convert"),
        (lambda line: line.replace("0.250000", "nan", 1), r"not a number"),
        (lambda line: line.replace(" 0 0 0 ", " 0 2 0 "), r"attributes must be 0 or 1"),
        (lambda line: line.replace("b.jpg", "c.jpg"), r"c\.jpg does not exist"),
    ],
)
def test_a_damaged_line_of_wflw_is_named(tmp_path: Path, damage: object, message: str) -> None:
    assert callable(damage)
    good, bad = wflw_line("37--Soccer/a.jpg"), wflw_line("37--Soccer/b.jpg")
    write_wflw(tmp_path, good, damage(bad))
    with pytest.raises(DatasetError, match=rf"attr_test\.txt:2: .*{message}"):
        read_wflw(tmp_path)


def test_a_missing_list_of_wflw_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"list_98pt_rect_attr_train\.txt does not exist"):
        read_wflw(tmp_path, "train")


def write_mat(path: Path, pitch: float, yaw: float, roll: float, **other: object) -> None:
    """A picture's .mat file with these angles in radians, and the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pose = np.array([[pitch, yaw, roll, 0, 0, 0, 1e-3]])
    savemat(path, {"Pose_Para": pose, "pt2d": GRID[:68].T, **other})
    path.with_suffix(".jpg").touch()


def test_a_mat_file_gives_yaw_pitch_and_roll(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.mat", 0.1, -0.2, 0.3)
    face = read_posed(tmp_path / "a.mat")
    np.testing.assert_allclose(face.euler, [-0.2, 0.1, 0.3], atol=1e-6)
    np.testing.assert_allclose(face.points, GRID[:68], atol=1e-4)


def test_aflw2000_gives_its_68_points_and_leaves_out_backs_of_heads(tmp_path: Path) -> None:
    points = np.concatenate([GRID[:68].T + 7, np.ones((1, 68))])
    unknown = -np.ones((2, 21))
    write_mat(tmp_path / "image00002.mat", 0.1, 0.2, 0.3, pt3d_68=points, pt2d=unknown)
    write_mat(tmp_path / "image00004.mat", 0.1, 2.0, 0.3, pt3d_68=points, pt2d=unknown)
    (face,) = read_aflw2000(tmp_path)
    np.testing.assert_allclose(face.points, GRID[:68] + 7, atol=1e-4)


def test_300wlps_test_faces_are_those_of_300ws_test_pictures(tmp_path: Path) -> None:
    names = ["LFPW/LFPW_image_test_0001_0", "LFPW/LFPW_image_train_0001_0"]
    names += ["HELEN/HELEN_296814969_3_0", "HELEN/HELEN_10405146_1_0", "IBUG/IBUG_image_003_1_0"]
    for name in names:
        write_mat(tmp_path / f"{name}.mat", 0, 0, 0)
    listed = tmp_path / "helen.txt"
    listed.write_text("296814969_3.jpg\n")
    without, having = read_300wlp_test(tmp_path), read_300wlp_test(tmp_path, listed)
    assert [f.image.stem for f in without["common"]] == ["LFPW_image_test_0001_0"]
    assert [f.image.stem for f in having["common"]][1:] == ["HELEN_296814969_3_0"]
    assert [f.image.stem for f in having["challenging"]] == ["IBUG_image_003_1_0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a mat file at all, but long enough to look like one" * 9, "not a readable .mat"),
        (b"", "not a readable .mat"),
    ],
)
def test_a_damaged_mat_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.mat").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"bad\.mat: .*{message}"):
        read_posed(tmp_path / "bad.mat")


def test_a_mat_file_without_points_is_named(tmp_path: Path) -> None:
    write_mat(tmp_path / "a.mat", 0, 0, 0, pt2d=np.zeros((2, 21)))
    with pytest.raises(DatasetError, match=r"a\.mat: pt2d must be 2 or 3 rows of 68"):
        read_posed(tmp_path / "a.mat")


WIDER = """0--Parade/one.jpg
2
10 20 70 80 0 0 0 0 0 0
1 2 5 6 2 0 0 1 2 0
0--Parade/none.jpg
0
0 0 0 0 0 0 0 0 0 0
"""


def write_wider(root: Path, text: str) -> Path:
    """WIDER FACE's folders with this list of the validation part."""
    images = root / "WIDER_val" / "images" / "0--Parade"
    images.mkdir(parents=True)
    for name in ("one.jpg", "none.jpg"):
        (images / name).touch()
    path = root / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    path.parent.mkdir()
    path.write_text(text)
    return path


def test_widers_pictures_have_boxes_also_none(tmp_path: Path) -> None:
    write_wider(tmp_path, WIDER)
    one, none = read_wider(tmp_path)
    assert one.boxes == (Box(10, 20, 80, 100), Box(1, 2, 6, 8))
    assert one.valid == (True, False)
    assert none.boxes == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 2 5 6 2", "1 2 5 6", r":4: 9 numbers, not 10"),
        ("1 2 5", "1 two 5", r":4: could not convert"),
        ("jpg\n2\n", "jpg\n3x\n", r":2: expected the number of faces, not '3x'"),
        ("none.jpg", "other.jpg", r":5: .*other\.jpg does not exist"),
        ("0 0 0 0 0 0 0 0 0 0\n", "", r":6: the file ends within 0--Parade/none\.jpg"),
    ],
)
def test_a_damaged_line_of_wider_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    before, _, after = WIDER.rpartition(old)
    write_wider(tmp_path, before + new + after)
    with pytest.raises(DatasetError, match=rf"bbx_gt\.txt{message}"):
        read_wider(tmp_path)


def pts(points: int = 68) -> str:
    """A .pts file's text."""
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in GRID[:points])
    return f"version: 1\nn_points:  {points}\n{{\n{rows}\n}}\n"


def write_300vw(root: Path, number: str, text: str) -> Path:
    """A folder of 300VW with an annotation of its first and its third frame."""
    folder = root / number / "annot"
    folder.mkdir(parents=True)
    (root / number / "vid.avi").touch()
    for name in ("000001.pts", "000003.pts"):
        (folder / name).write_text(text)
    return folder / "000001.pts"


def test_300vw_gives_the_test_videos_by_category(tmp_path: Path) -> None:
    for number in ("410", "114", "009"):  # 009 is for training
        write_300vw(tmp_path, number, pts())
    found = list(read_300vw(tmp_path))
    assert [(v.category, v.name) for v in found] == [("A", "114"), ("C", "410")]
    assert sorted(found[0].annotations) == [0, 2]
    assert [len(v) for v in CATEGORIES_300VW.values()] == [31, 19, 14]


def test_the_first_pixels_centre_is_one_in_a_pts_file(tmp_path: Path) -> None:
    path = write_300vw(tmp_path, "114", pts())
    np.testing.assert_allclose(read_pts(path), GRID[:68] - 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pts(67), r":71: 67 points, not 68"),
        (pts().replace("1.250 0.750", "1.250"), r":5: 1 numbers, not 2"),
        (pts().replace("1.250 0.750", "1.250 -"), r":5: could not convert"),
        (pts().replace("}", ""), r": the points must stand between"),
    ],
)
def test_a_damaged_pts_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write_300vw(tmp_path, "114", text)
    with pytest.raises(DatasetError, match=rf"000001\.pts{message}"):
        read_pts(path)


def test_a_folder_without_test_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"300VW's numbered folders"):
        list(read_300vw(tmp_path))

"""Each of the paper's experiments runs as a command on its data set's published format."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from scipy.io import savemat

from atpn.geometry import Box, Image
from atpn.landmarks import to_68
from atpn_training.experiments import __main__ as experiments
from atpn_training.network.atpn import ATPN
from atpn_training.network.config import VARIANTS, NetConfig
from atpn_training.score.measures import Figures
from atpn_training.train.ablate import STAGES_OF
from atpn_training.train.checkpoint import save_weights
from tests.clips import view
from tests.training.synthetic import Array, astronaut_points, write_image, write_video

PHOTO: Image = skimage.data.astronaut()


@pytest.fixture(scope="module")
def points() -> Array:
    """The face in the photograph: (98, 2), by the shipped network, off by one pixel."""
    return astronaut_points(PHOTO) + np.float32(1)


@pytest.fixture
def wflw(tmp_path: Path, points: Array) -> Path:
    """WFLW's folders with the photograph twice, once marked as blurred and occluded."""
    root = tmp_path / "WFLW"
    write_image(root / "WFLW_images" / "0--Space" / "a.jpg", PHOTO)
    words = " ".join(f"{v:.4f}" for v in points.ravel())
    lines = [f"{words} 170 60 280 190 {marks} 0--Space/a.jpg" for marks in MARKS]
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    folder.mkdir(parents=True)
    (folder / "list_98pt_rect_attr_test.txt").write_text("\n".join(lines))
    return root


MARKS = ("0 0 0 0 0 0", "0 0 0 0 1 1")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command with these arguments."""
    monkeypatch.setattr(sys, "argv", ["experiments", *map(str, arguments)])
    return experiments.main()


def written(out: Path, name: str) -> tuple[Figures, str]:
    """What the command wrote: figures and table."""
    return json.loads((out / f"{name}.json").read_text()), (out / f"{name}.md").read_text()


def test_wflw_is_scored_as_a_whole_and_by_subset(
    wflw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, "wflw", "--root", wflw, "--out", out) == 0
    figures, text = written(out, "wflw")
    assert figures["all"]["faces"] == 2
    assert {name for name, own in figures.items() if own["faces"] == 1} == {"occlusion", "blur"}
    assert 0.5 < figures["all"]["nme_percent"] < 6
    assert figures["all, ROI from the detector"]["faces"] == 2
    assert "| all | 5.13 | 6.27 | 0.557 |" in text
    assert cv2.imread(str(out / "wflw_ced.png")) is not None


def test_a_damaged_list_ends_the_command_with_its_line(
    wflw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(wflw.rglob("*.txt"))
    path.write_text(path.read_text() + "\n1 2 3\n")
    assert run(monkeypatch, "wflw", "--root", wflw, "--out", tmp_path / "out") == 1
    assert "list_98pt_rect_attr_test.txt:3: 3 words, not 207" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_ablations_variants_are_scored_on_wflw(
    wflw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, out = tmp_path / "run", tmp_path / "out"
    arguments = ("ablation", "--root", wflw, "--run", trained, "--out", out)
    assert run(monkeypatch, *arguments) == 1
    assert "run atpn_training.train.ablate first" in capsys.readouterr().err
    names = [name for name, stages in STAGES_OF.items() if "alignment" in stages]
    for name in names:
        net = ATPN(NetConfig(variant=VARIANTS[name]))
        (trained / name).mkdir(parents=True)
        save_weights(net, trained / name / "alignment.done.pt")
    assert run(monkeypatch, *arguments) == 0
    figures, text = written(out, "ablation")
    assert list(figures) == names
    assert "| 5.61 |" in text
    assert "| 5.13 |" in text


def test_300vw_is_tracked_and_detected_by_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "300VW", tmp_path / "out"
    shown = view(PHOTO, 222, 128, 320)  # one image pixel a frame pixel
    nobody = view(skimage.data.coffee(), 200, 200, 320)
    write_video(root / "114" / "vid.avi", [shown] * 4 + [nobody])
    write_video(root / "557" / "vid.avi", [shown] * 2)
    labels = to_68(astronaut_points(shown, Box(65, 65, 255, 255))) + np.float32(0.5)
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in labels)
    for number, count in (("114", 5), ("557", 2)):
        folder = root / number / "annot"
        folder.mkdir()
        for i in range(count):
            text = f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n"
            (folder / f"{i + 1:06}.pts").write_text(text)
    assert run(monkeypatch, "300vw", "--root", root, "--out", out) == 0
    figures, text = written(out, "300vw")
    assert list(figures) == ["A", "C"]
    assert figures["A"]["tracking"]["faces"] == 4
    assert figures["A"]["failure_percent"] == 20
    assert figures["C"]["failure_percent"] == 0
    assert max(own["tracking"]["nme_percent"] for own in figures.values()) < 5
    assert "| 3.52 / 3.49 | 20.00 | 0.14 |" in text


def test_pose_is_scored_on_300wlp_and_aflw2000(
    tmp_path: Path, points: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "pose", tmp_path / "out"
    flat = to_68(points).T
    for name in (
        "300W_LP/LFPW/LFPW_image_test_0001_0",
        "300W_LP/IBUG/IBUG_image_003_1_0",
        "AFLW2000/image00002",
    ):
        write_image(root / f"{name}.jpg", PHOTO)
        pose = np.array([[0.0, 0.2, 0.1, 0, 0, 0, 1]])
        savemat(
            root / f"{name}.mat",
            {"Pose_Para": pose, "pt2d": flat, "pt3d_68": np.concatenate([flat, flat[:1] * 0])},
        )
    assert run(monkeypatch, "pose", "--root", root, "--out", out) == 0
    figures, text = written(out, "pose")
    assert list(figures) == ["common", "challenging", "AFLW2000-3D"]
    assert all(own["faces"] == 1 and own["mean_deg"] < 15 for own in figures.values())
    assert "| common | 1.55 | 0.12 |" in text


def test_wider_is_scored_with_ten_negatives_a_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "WIDER", tmp_path / "out"
    write_image(root / "WIDER_val" / "images" / "0--Space" / "a.jpg", PHOTO)
    lines = ["0--Space/a.jpg", "3", "172 60 105 135 0 0 0 0 0 0", "10 10 20 20 2 0 0 0 0 0"]
    lines.append("300 300 90 90 2 0 0 1 0 0")  # invalid: not scored
    path = root / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    path.parent.mkdir()
    path.write_text("\n".join(lines) + "\n")
    assert run(monkeypatch, "wider", "--root", root, "--out", out) == 0
    figures, text = written(out, "wider")
    assert (figures["faces"], figures["negatives"]) == (1, 10)
    assert figures["recall_percent"] == 100
    assert "The paper's AP: 98.82 %" in text
    assert cv2.imread(str(out / "wider_pr.png")) is not None

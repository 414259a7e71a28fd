"""The figures mean what the model card says, and the card shows those of the shipped model."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from atpn.engine.inference import find_model, shipped_models
from atpn.geometry import Box, Image, roi_from_detection
from atpn.landmarks import to_68
from atpn_training.artefacts.files import ARTIFACTS
from atpn_training.score import evaluate
from atpn_training.score.card import (
    BEGIN,
    CARD,
    END,
    FIGURES_PAGE,
    brief_table,
    figures_table,
    with_table,
)
from atpn_training.score.evaluate import MODELS
from atpn_training.score.measures import (
    Angles,
    Errors,
    Scores,
    alignment_figures,
    average_precision,
    confidence_figures,
    cumulative,
    errors_68,
    errors_98,
    errors_inner,
    pose_bins,
    pose_figures,
    precision_recall,
)
from atpn_training.score.served import Model
from tests.clips import view
from tests.conftest import Service, png
from tests.training.synthetic import made_up_faces, write_data, write_video


def test_nme_is_in_interocular_and_in_interpupil_distances() -> None:
    points = made_up_faces(2).points
    eyes, pupils = (np.linalg.norm(points[:, a] - points[:, b], axis=1) for a, b in PAIRS)
    moved = points.copy()
    moved[:, :, 0] += 0.1 * eyes[:, None]
    found = errors_98(moved, points)
    np.testing.assert_allclose(found.interocular, 0.1, rtol=1e-4)
    np.testing.assert_allclose(found.interpupil, 0.1 * eyes / pupils, rtol=1e-4)


PAIRS = ((60, 72), (96, 97))


def test_errors_against_68_points_leave_out_what_is_not_asked_for() -> None:
    points = made_up_faces(2).points
    hand = to_68(points)
    hand[:, :17] += 1000  # the contour
    np.testing.assert_allclose(errors_inner(points, hand).interocular, 0, atol=1e-6)
    assert (errors_68(points, hand).interocular > 1).all()


@pytest.mark.parametrize("turn", [0, 20, 50])
async def test_photographs_are_measured_as_align_answers_them(
    service: Service, astronaut: Image, turn: float
) -> None:
    photo, box = view(astronaut, 225, 130, 260, turn), Box(100, 100, 220, 220)
    model = Model.load(ARTIFACTS / "atpn" / "1")
    (measured,) = model.as_photographs([photo], [roi_from_detection(box)])
    answer = await service.post_boxes("/align", png(photo), [[100, 100, 220, 220]])
    assert answer.json()["faces"][0]["landmarks"] == pytest.approx(measured, abs=0.02)


def test_alignment_figures_of_known_errors() -> None:
    own = np.array([0.02, 0.04, 0.06, 0.2])
    assert alignment_figures(Errors(own, own * 2)) == {
        "faces": 4,
        "nme_percent": 8.0,
        "median_percent": 5.0,
        "fr_percent": 25.0,
        "auc": 0.45,  # mean of 0.8, 0.6, 0.4 and 0
        "interpupil_percent": 16.0,
    }


def test_the_cumulative_curve_encloses_the_area() -> None:
    errors = np.random.default_rng(0).gamma(4, 0.012, 500)
    at, share = cumulative(errors)
    area = np.trapezoid(share, at) / 0.1
    assert area == pytest.approx(alignment_figures(Errors(errors, errors))["auc"], abs=1e-3)
    assert share[-1] == (errors <= 0.1).mean()


def test_pose_figures_of_known_errors() -> None:
    target = np.zeros((2, 2), np.float32)
    wrong = np.radians([[3, -5], [11, 13]]).astype(np.float32)
    found = pose_figures(Angles(wrong, target))
    assert found["yaw_deg"] == pytest.approx(7)
    assert found["pitch_deg"] == pytest.approx(9)
    assert found["mean_deg"] == pytest.approx(8)
    assert found["fr_percent"] == 50
    assert "roll_deg" not in found


def test_pose_is_summed_up_for_each_angle_that_was_wanted() -> None:
    target = np.radians(np.array([-30, -30, 15], np.float32))
    low, high = pose_bins(np.radians(np.array([-20, -26, 15], np.float32)), target)
    assert (low["wanted_deg"], low["faces"]) == (-30, 2)
    assert low["median_deg"] == pytest.approx(-23, abs=1e-3)
    assert low["mae_deg"] == pytest.approx(7, abs=1e-3)
    assert high["mae_deg"] == pytest.approx(0, abs=1e-3)


def test_confidence_figures_of_known_scores() -> None:
    faces, negatives = np.array([0.9, 0.8, 0.6]), np.array([0.75, 0.1, 0.2, 0.3])
    found = confidence_figures(Scores(faces.astype(np.float32), negatives.astype(np.float32)))
    assert found["recall_percent"] == pytest.approx(66.6667)
    assert found["false_positive_percent"] == 25
    assert found["ap_percent"] == pytest.approx(100 * (1 + 1 + 3 / 4) / 3, abs=1e-4)


def test_the_precision_recall_curve_encloses_the_average_precision() -> None:
    rng = np.random.default_rng(0)
    scores = Scores(
        rng.normal(1, 1, 200).astype(np.float32), rng.normal(0, 1, 300).astype(np.float32)
    )
    recall, precision = precision_recall(scores)
    gained = np.diff(recall, prepend=0)
    assert (gained * precision).sum() == pytest.approx(average_precision(*scores.ordered))
    assert recall[-1] == 1


def test_average_precision_of_a_perfect_order_is_one() -> None:
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])) == 1


def test_a_table_replaces_the_one_before_and_no_other_models() -> None:
    others = f"{BEGIN.format('of b')}\nold\n{END.format('of b')}\n"
    card = f"before\n{BEGIN.format('of a')}\nold\n{END.format('of a')}\n{others}after\n"
    once = with_table(card, "of a", "| new |")
    assert once.count("old") == 1
    assert once == with_table(once, "of a", "| new |")
    assert once.startswith("before\n")
    assert once.endswith(f"{others}after\n")


def test_a_card_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
        with_table("no markers", "of atpn", "| new |")


@pytest.mark.parametrize("name", sorted(p.name for p in shipped_models().glob("atpn*")))
def test_the_page_of_figures_shows_the_shipped_models(name: str) -> None:
    page, figures = FIGURES_PAGE.read_text(), find_model(shipped_models(), name).metadata["figures"]
    assert with_table(page, f"of {name}", figures_table(figures)) == page


def test_the_model_card_shows_the_main_figures_of_the_shipped_models() -> None:
    card = CARD.read_text()
    models = {name: find_model(shipped_models(), name).metadata["figures"] for name in MODELS}
    assert with_table(card, "in brief", brief_table(models)) == card


def test_what_a_model_was_not_measured_on_is_left_empty() -> None:
    figures = {"alignment": {"lfpw_hand": {"nme_percent": 4.3}}}
    text = brief_table({"a": figures, "b": {}})
    assert "| LFPW, hand labels: NME % | 4.30 |  |" in text


def test_the_whole_evaluation_on_a_small_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, clips, plots = tmp_path / "data", tmp_path / "clips", tmp_path / "plots"
    write_data(data)
    photo = skimage.data.astronaut()
    sway = [view(photo, 225 + 20 * np.sin(i / 4), 130, 260) for i in range(20)]
    nobody = [view(skimage.data.coffee(), 200, 200, 300)] * 5
    write_video(clips / "sway.avi", sway)
    write_video(clips / "then_none.avi", sway + nobody)
    model = shipped_models() / "atpn" / find_model(shipped_models(), "atpn").version
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "evaluate",
            "--data",
            str(data),
            "--clips",
            str(clips),
            "--model",
            str(model),
            "--plots",
            str(plots),
            "--negatives",
            "60",
        ],
    )
    assert evaluate.main() == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["tracking"]["sway"]["lost_percent"] == 0
    left = figures["tracking"]["then_none"]
    assert (left["faceless_frames"], left["false_frames"]) == (5, 0)
    every, sure = (figures["alignment"][name] for name in ("teacher", "teacher_sure"))
    assert (every["faces"], sure["faces"]) == (6, 5)
    assert every["nme_percent"] > sure["nme_percent"] + 10
    assert figures["alignment"]["infanface_hand"]["faces"] == 2
    assert figures["alignment"]["infanface_hand"]["nme_percent"] < 10
    assert figures["alignment"]["wflw30_hand"]["faces"] == 1
    assert 0.5 < figures["alignment"]["wflw30_teacher"]["nme_percent"] < 5  # half a pixel aside
    assert [b["wanted_deg"] for b in figures["pose"]["pointing04_bins"]["yaw"]] == [-30, 15]
    text = figures_table(figures)
    assert "| then_none | 25 |" in text
    names = {"ced.png", "precision_recall.png", "pose.png", "clip.png"}
    assert {p.name for p in plots.iterdir()} == names
    assert all(cv2.imread(str(p)) is not None for p in plots.iterdir())

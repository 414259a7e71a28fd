"""The figures mean what the model card says, and the card shows those of the shipped model."""

import numpy as np
import pytest

from atpn.inference import find_model, shipped_models
from atpn_training.evaluate import (
    BEGIN,
    CARD,
    END,
    alignment_figures,
    confidence_figures,
    figures_table,
    pose_figures,
    with_table,
)
from atpn_training.validate import average_precision, nme_98
from tests.training.synthetic import made_up_faces


def test_nme_is_in_interocular_distances() -> None:
    points = made_up_faces(2).points
    distance = np.linalg.norm(points[:, 60] - points[:, 72], axis=1)
    moved = points.copy()
    moved[:, :, 0] += 0.1 * distance[:, None]
    np.testing.assert_allclose(nme_98(moved, points), 0.1, rtol=1e-4)


def test_alignment_figures_of_known_errors() -> None:
    found = alignment_figures(np.array([0.02, 0.04, 0.06, 0.2]))
    assert found == {
        "faces": 4,
        "nme_percent": 8.0,
        "median_percent": 5.0,
        "fr_percent": 25.0,
        "auc": 0.45,  # mean of 0.8, 0.6, 0.4 and 0
    }


def test_pose_figures_of_known_errors() -> None:
    target = np.zeros((2, 2), np.float32)
    found = pose_figures(np.radians([[3, -5], [11, 13]]), target, ("yaw", "pitch"))
    assert found["yaw_deg"] == pytest.approx(7)
    assert found["pitch_deg"] == pytest.approx(9)
    assert found["mean_deg"] == pytest.approx(8)
    assert found["fr_percent"] == 50


def test_confidence_figures_of_known_scores() -> None:
    faces, backgrounds = np.array([0.9, 0.8, 0.6]), np.array([0.7, 0.1, 0.2, 0.3])
    found = confidence_figures(faces.astype(np.float64), backgrounds)
    assert found["recall_percent"] == pytest.approx(66.6667)
    assert found["false_positive_percent"] == 25
    assert found["ap_percent"] == pytest.approx(100 * (1 + 1 + 3 / 4) / 3, abs=1e-4)


def test_average_precision_of_a_perfect_order_is_one() -> None:
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, True, False])) == 1


def test_a_table_replaces_the_one_before() -> None:
    card = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = with_table(card, "| new |")
    assert "old" not in once
    assert once == with_table(once, "| new |")
    assert once.startswith("before\n")
    assert once.endswith("after\n")


def test_a_card_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
        with_table("no markers", "| new |")


def test_the_model_card_shows_the_shipped_models_figures() -> None:
    figures = find_model(shipped_models(), "atpn").metadata["figures"]
    assert figures_table(figures) in CARD.read_text()

"""The losses are what their equations say."""

import numpy as np
import pytest
import torch

from atpn.geometry import rotation_from_euler
from atpn.landmarks import LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from atpn_training.train.losses import (
    SHORTEST_INTEROCULAR,
    alignment_loss,
    pose_loss,
    rotation_loss,
    rotations,
)


def test_alignment_errors_are_measured_by_the_eyes_distance_and_weighted() -> None:
    target = torch.zeros(3, 98, 2)
    target[:, LEFT_EYE_OUTER, 0] = torch.tensor([0.5, 0.2, 0.01])
    target[:, RIGHT_EYE_OUTER, 0] = 0
    predicted = target + torch.tensor([0.03, 0.04])  # 0.05 away, each point
    errors = [0.05 / 0.5, 0.05 / 0.2, 0.05 / SHORTEST_INTEROCULAR]
    weight = torch.tensor([1.0, 2.0, 0.5])
    expected = np.average(errors, weights=weight)
    assert alignment_loss(predicted, target, weight).item() == pytest.approx(expected)


def test_rotations_are_those_of_the_geometry() -> None:
    euler = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 3)).astype(np.float32)
    expected = np.stack([rotation_from_euler(*row) for row in euler])
    np.testing.assert_allclose(rotations(torch.from_numpy(euler)), expected, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_both_pose_losses_agree_near_a_frontal_head(axis: int) -> None:
    target = torch.zeros(1, 3)
    predicted = target.clone()
    predicted[0, axis] = 0.05
    assert pose_loss(predicted, target).item() == pytest.approx(0.05**0.5 / 3, rel=1e-4)
    assert rotation_loss(predicted, target).item() == pytest.approx(0.05**0.5 / 3, rel=1e-3)


def test_near_profile_two_heads_that_are_nearly_one_count_little() -> None:
    """Pitch and roll turn about nearly the same axis there, against one another."""
    one, other = torch.tensor([[1.45, 0.3, 0.3]]), torch.tensor([[1.45, 0.5, 0.5]])
    assert rotation_loss(one, other) < 0.4 * pose_loss(one, other)


def test_a_perfect_answer_has_a_gradient() -> None:
    same = torch.tensor([[0.3, 0.1, -0.2]], requires_grad=True)
    rotation_loss(same, same.detach()).backward()  # type: ignore[no-untyped-call]
    assert same.grad is not None
    assert same.grad.isfinite().all()

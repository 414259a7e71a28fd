"""Rotations are found from points alone, and an angle of finished weights can be scaled."""

import numpy as np
import pytest
import torch

from atpn.geometry import rotation_from_euler
from atpn_training.data.profiles import MESH
from atpn_training.score.calibration import Posed, slopes
from atpn_training.train.recalibrate import with_pitch
from tests.training.synthetic import tiny_net


@pytest.fixture
def turned() -> Posed:
    """One made-up head as 200 cameras see it, with its true angles."""
    rng = np.random.default_rng(4)
    head = rng.normal(0, [70, 90, 40], (MESH, 3))
    euler = rng.normal(0, [0.4, 0.25, 0.2], (200, 3))
    points = [rng.uniform(0.8, 1.2) * head @ rotation_from_euler(*e)[:2].T + 96 for e in euler]
    return Posed(np.array(points, np.float32), euler.astype(np.float32))


def test_true_angles_are_neither_stretched_nor_compressed(turned: Posed) -> None:
    np.testing.assert_allclose(slopes(turned), 1, atol=0.02)


@pytest.mark.parametrize("angle", [0, 1])
def test_a_teacher_that_stretches_an_angle_is_found_out(turned: Posed, angle: int) -> None:
    stretched = turned.euler.copy()
    stretched[:, angle] *= 1.25
    found = slopes(Posed(turned.points, stretched))
    np.testing.assert_allclose(found[angle], 0.8, atol=0.03)


def test_only_the_pitch_is_scaled() -> None:
    net = tiny_net().eval()
    images = torch.rand(2, 3, 112, 112) * 255
    before = [answer.detach().clone() for answer in net(images)]
    points, pose, confidence = (answer.detach() for answer in with_pitch(net, 0.8)(images))
    torch.testing.assert_close(pose, before[1] * torch.tensor([1, 0.8, 1]), rtol=0.02, atol=1e-4)
    assert torch.equal(points, before[0])
    assert torch.equal(confidence, before[2])

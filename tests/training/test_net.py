"""The network keeps to the paper: cost, heatmap, coordinates, multiview block."""

import pytest
import torch

from atpn_training.network.atpn import ATPN
from atpn_training.network.blocks import Downsample, Multiview, conv_bn_global, with_coordinates
from atpn_training.network.cost import PAPER, cost, table
from atpn_training.network.parts import heatmap


def landmarks_at(*cells: tuple[float, float], size: int = 28) -> torch.Tensor:
    """(1, N, 2) landmarks at (x, y) positions of the grid, in units of the crop's side."""
    return torch.tensor([cells]) / size


def test_network_costs_no_more_than_the_papers() -> None:
    costs = cost(ATPN())
    for name, limit in PAPER.items():
        assert costs[name].parameters <= limit.parameters, name
        assert costs[name].multiply_adds <= limit.multiply_adds, name


def test_cost_counts_a_known_layer() -> None:
    net = ATPN()
    net.pose.body = torch.nn.Sequential()
    net.pose.project = conv_bn_global(24, 28)
    net.pose.regress = torch.nn.Linear(24, 3)
    assert cost(net)["pose branch"].parameters == 24 * 28 * 28 + 2 * 24 + 24 * 3 + 3
    assert cost(net)["pose branch"].multiply_adds == 24 * 28 * 28 + 24 * 3


def test_cost_table_names_every_part() -> None:
    text = table(cost(ATPN()))
    assert all(part in text for part in ("backbone + alignment", "tracking", "pose"))


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 2.0, 2.9])
def test_heatmap_is_one_over_the_root_of_one_plus_distance(distance: float) -> None:
    found = heatmap(landmarks_at((10.5 - distance, 7.5)), 28)
    assert found.shape == (1, 1, 28, 28)
    assert found[0, 0, 7, 10].item() == pytest.approx((1 + distance) ** -0.5, abs=1e-5)


def test_heatmap_is_never_below_a_half() -> None:
    found = heatmap(landmarks_at((0.5, 0.5)), 28)
    assert found.min() == 0.5
    assert found[0, 0, 0, 3] == pytest.approx(0.5)  # three cells away: the floor is reached
    assert found[0, 0, 27, 27] == 0.5


def test_heatmap_uses_the_nearest_landmark() -> None:
    both = heatmap(landmarks_at((3.5, 3.5), (20.5, 20.5)), 28)
    each = [heatmap(landmarks_at(cell), 28) for cell in ((3.5, 3.5), (20.5, 20.5))]
    assert torch.equal(both, torch.maximum(*each))


def test_heatmap_has_a_finite_gradient_at_a_landmark() -> None:
    points = landmarks_at((10.5, 7.5)).requires_grad_()
    torch.autograd.backward(heatmap(points, 28).sum())
    assert points.grad is not None
    assert points.grad.isfinite().all()


def test_coordinates_run_from_minus_one_to_one() -> None:
    found = with_coordinates(torch.zeros(2, 5, 4, 3))
    assert found.shape == (2, 7, 4, 3)
    assert found[1, 5, 2].tolist() == [-1, 0, 1]  # x: along the columns
    assert found[1, 6, :, 1].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])  # y: the rows


def test_downsampling_halves_the_map() -> None:
    assert Downsample(8, 12)(torch.zeros(2, 8, 28, 28)).shape == (2, 12, 14, 14)


def test_multiview_keeps_the_shape() -> None:
    assert Multiview(16)(torch.zeros(2, 16, 14, 14)).shape == (2, 16, 14, 14)


def test_multiview_is_a_residual() -> None:
    """Without weights its convolutions add nothing."""
    block = Multiview(16).eval()
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 16, 14, 14)
    assert torch.equal(block(x), x)


def test_multiview_sees_seven_cells() -> None:
    """A cell's last channels depend on cells up to three away, and on none farther."""
    torch.manual_seed(0)
    block = Multiview(16).eval()
    x = torch.zeros(1, 16, 15, 15)
    changed = x.clone()
    changed[0, :, 7, 7] = 1
    rows = (block(changed) - block(x))[0, 12:].abs().sum((0, 2)).nonzero().flatten()
    assert 4 <= int(rows.min()) <= int(rows.max()) <= 10


def test_outputs_have_the_documented_shapes_and_ranges() -> None:
    torch.manual_seed(0)
    points, pose, confidence = ATPN().eval()(torch.rand(3, 3, 112, 112) * 255)
    assert (points.shape, pose.shape, confidence.shape) == ((3, 98, 2), (3, 3), (3,))
    assert pose.abs().max() <= torch.pi
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_an_untrained_network_answers_about_the_mean_shape() -> None:
    mean = torch.rand(98, 2)
    points, _, _ = ATPN(mean_shape=mean).eval()(torch.zeros(1, 3, 112, 112))
    assert (points - mean).abs().max() < 0.1

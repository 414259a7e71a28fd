"""The optimiser of the matrices."""

import pytest
import torch
from torch import nn

from atpn_training.train.muon import ADAM_RMS, Muon, is_matrix, orthogonalised


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (32, 32)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    """Of a matrix whose own span two orders of magnitude."""
    generator = torch.Generator().manual_seed(1)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    spread = torch.logspace(0, -2, min(shape))
    values = torch.linalg.svdvals(orthogonalised(100 * u @ torch.diag(spread) @ v))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_step_keeps_the_gradients_directions() -> None:
    """The update has the gradient's singular vectors: their product is symmetric, positive."""
    generator = torch.Generator().manual_seed(2)
    gradient = torch.randn(16, 16, generator=generator)
    product = orthogonalised(gradient) @ gradient.T
    torch.testing.assert_close(product, product.T, rtol=1e-3, atol=1e-3)
    assert torch.linalg.eigvalsh(product).min() > 0


def test_matrices_are_what_mixes_channels() -> None:
    assert is_matrix(nn.Linear(4, 3).weight)
    assert is_matrix(nn.Conv2d(4, 3, 1).weight)
    assert is_matrix(nn.Conv2d(4, 3, 3).weight)
    assert not is_matrix(nn.Conv2d(4, 4, 3, groups=4).weight)
    assert not is_matrix(nn.Conv2d(4, 3, 7).weight)
    assert not is_matrix(nn.BatchNorm2d(4).weight)


def test_a_step_is_as_large_as_adams_whatever_the_gradient() -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(64, 32, 1, 1, generator=generator)
    for scale in (1e-4, 1e4):
        weight = nn.Parameter(start.clone())
        weight.grad = scale * torch.randn(64, 32, 1, 1, generator=generator)
        Muon([weight], lr=0.01).step()
        moved = (weight - start).pow(2).mean().sqrt().item()
        assert moved == pytest.approx(0.01 * ADAM_RMS, rel=0.3)


def test_weights_decay_and_those_without_gradient_stay() -> None:
    moved, still = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    moved.grad = torch.zeros(4, 4)
    Muon([moved, still], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(moved.detach(), torch.full((4, 4), 0.95))
    assert torch.equal(still.detach(), torch.ones(4, 4))


def test_it_finds_a_least_squares_solution() -> None:
    generator = torch.Generator().manual_seed(4)
    inputs, wanted = torch.randn(64, 8, generator=generator), torch.randn(8, 5, generator=generator)
    weight = nn.Parameter(torch.zeros(5, 8))
    optimizer = Muon([weight], lr=0.1)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimizer.zero_grad()
        loss = (inputs @ (weight.T - wanted)).pow(2).mean()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 1e-3

"""Muon: momentum whose matrices are orthogonalised before they are added to the weights.

K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the update's
scale follows J. Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982, section 2.2),
so that learning rate and weight decay are those of AdamW.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic: steep at 0, about 1 on (0, 1]
ADAM_RMS = 0.2  # the size of AdamW's steps, in learning rates
LARGEST_KERNEL = 9  # elements: beyond 3x3 a convolution's rows are images, not mixtures


def is_matrix(weight: Tensor) -> bool:
    """Whether a parameter mixes channels: linear layers and convolutions up to 3x3.

    Depthwise convolutions, wide kernels, batch norms and biases do not.
    """
    if weight.dim() == 4:
        return weight.shape[1] > 1 and weight[0, 0].numel() <= LARGEST_KERNEL
    return weight.dim() == 2


def orthogonalised(matrix: Tensor) -> Tensor:
    """A (m, n) matrix with its singular values brought near 1 by Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / (torch.linalg.matrix_norm(matrix) + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; parameters of any shape, seen as (first axis, rest)."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; ``closure`` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: Tensor, group: dict[str, float]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
        ahead = weight.grad.lerp(momentum, group["momentum"])  # type: ignore[union-attr]
        update = orthogonalised(ahead.flatten(1))
        scale = ADAM_RMS * max(update.shape) ** 0.5
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(update.view_as(weight), alpha=-group["lr"] * scale)

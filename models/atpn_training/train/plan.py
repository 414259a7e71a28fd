"""How long and how fast each stage learns."""

from dataclasses import dataclass

STAGES = ("alignment", "tracking", "pose")  # in this order


@dataclass(frozen=True)
class Plan:
    """How one stage is trained: warm-up, constant rate, then a linear fall to zero.

    A run can be prolonged: only the fall at the end and where it settles depend on ``steps``.
    """

    steps: int
    batch: int
    rate: float
    warmup: int = 300
    fall: float = 0.7  # share of the steps during which the rate falls
    decay: float = 1e-3  # of the weights, decoupled as in AdamW
    average: float = 0.998  # of the weights that are shipped
    settle: float = 1.0  # share of the steps after which batch norms keep their statistics
    orthogonal: bool = False  # Muon for the matrices, in place of AdamW
    as_rotations: bool = False  # heads are compared by `rotation_loss`, in place of the paper's

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        left = (self.steps - step) / (self.steps * self.fall)
        return self.rate * min(1.0, (step + 1) / self.warmup, max(left, 0.0))

    @property
    def settles_at(self) -> int:
        """The step from which batch norms keep their statistics."""
        return round(self.steps * self.settle)


PLANS = {
    "alignment": Plan(steps=8000, batch=64, rate=1.5e-3, orthogonal=True),
    "tracking": Plan(steps=1500, batch=132, rate=2e-3, warmup=100, average=0.99),
    "pose": Plan(steps=1500, batch=128, rate=2e-3, warmup=100, average=0.99),
}

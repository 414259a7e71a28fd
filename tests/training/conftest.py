"""Small networks train faster on one thread, and need few samples for their statistics."""

from collections.abc import Iterator

import pytest
import torch

from atpn_training.train import stage

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def few_samples() -> Iterator[None]:
    """Batch-norm statistics of tests come from few crops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "MEASURED_ON", 32)
        yield

"""Processes that train one network together."""

from functools import partial
from pathlib import Path

import pytest
import torch
from numpy.random import Generator
from torch import nn

from atpn_training.batches import Batch
from atpn_training.net import ATPN
from atpn_training.team import Team, run_team
from atpn_training.train import Plan, train_stage
from atpn_training.validate import Report
from tests.training.synthetic import noise_batch, tiny_net

STEPS = 6


def average(folder: Path, team: Team) -> None:
    weights = [nn.Parameter(torch.zeros(2, 3, 3, 3)), nn.Parameter(torch.zeros(5))]
    weights[0].data = weights[0].data.to(memory_format=torch.channels_last)
    for weight in weights:
        weight.grad = torch.full_like(weight, team.rank + 1.0)
    weights[0].grad[0, 1, 2, 0] = 10.0 * team.rank  # type: ignore[index]
    team.average_gradients([*weights, nn.Parameter(torch.zeros(1))])
    torch.save([weight.grad for weight in weights], folder / f"{team.rank}.pt")


def test_gradients_become_their_mean_in_every_process(tmp_path: Path) -> None:
    run_team(2, partial(average, tmp_path))
    expected = torch.full((2, 3, 3, 3), 1.5)
    expected[0, 1, 2, 0] = 5.0
    for rank in range(2):
        first, second = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(first, expected)
        assert torch.equal(second, torch.full((5,), 1.5))


def unlike(rank: int, rng: Generator) -> Batch:
    batch = noise_batch(rng)
    return {**batch, "points": batch["points"] + 0.1 * rank}


def train_together(folder: Path, team: Team) -> None:
    net: ATPN = tiny_net(seed=1)

    def validate(_: ATPN) -> Report:
        if not team.leads:
            raise RuntimeError("not mine to validate")
        return Report()

    plan = Plan(steps=STEPS, batch=4, rate=1e-2, warmup=1, orthogonal=True)
    draw = partial(unlike, team.rank)
    train_stage(net, "alignment", plan, draw, validate, folder, 3, 0, STEPS, team)
    torch.save(dict(net.named_parameters()), folder / f"net{team.rank}.pt")


def test_a_team_keeps_the_same_weights(tmp_path: Path) -> None:
    """The leader's checkpoint holds what the other process has, though their samples differ."""
    run_team(2, partial(train_together, tmp_path))
    saved = torch.load(tmp_path / "alignment.pt", weights_only=True)["net"]
    other = torch.load(tmp_path / "net1.pt", weights_only=True)
    for name, value in other.items():
        torch.testing.assert_close(value, saved[name], msg=name)
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 2


def fail(rank: int, team: Team) -> None:
    if team.rank == rank:
        raise ArithmeticError("lost")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_is_reported(rank: int) -> None:
    with pytest.raises((ArithmeticError, RuntimeError), match="lost" if rank == 0 else "failed"):
        run_team(2, partial(fail, rank))


def test_a_batch_is_shared_evenly_or_not_at_all() -> None:
    assert Team(1, 2).share(64) == 32
    with pytest.raises(ValueError, match="a batch of 65"):
        Team(1, 2).share(65)

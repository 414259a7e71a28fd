"""Training changes what its stage may change, and resumes where it was killed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atpn_training.network.atpn import ATPN
from atpn_training.network.config import NetConfig
from atpn_training.train.__main__ import parse
from atpn_training.train.checkpoint import load_net, save_weights
from atpn_training.train.plan import Plan
from atpn_training.train.run import mean_shape
from atpn_training.train.stage import Feed, Journal, freeze, loss_of, optimizers_of, train_stage
from atpn_training.train.validate import Report
from tests.training.synthetic import made_up_faces, noise_batch, shake_batch_norm, tiny_net

STEPS = 20
KILLED_AT = 4
PARTS = {
    "alignment": {"backbone", "alignment"},
    "tracking": {"tracking"},
    "pose": {"pose"},
}


@pytest.fixture(autouse=True)
def statistics_of_few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of thousands would take most of a test's time."""
    monkeypatch.setattr("atpn_training.train.stage.MEASURED_ON", 64)


@pytest.mark.parametrize("stage", PARTS)
def test_a_step_changes_the_stages_parts_only(stage: str) -> None:
    """Frozen weights and frozen batch-norm statistics stay as they are."""
    net = tiny_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    freeze(net, stage)
    optimizers = optimizers_of(net, stage, Plan(steps=2, batch=4, rate=1e-2, orthogonal=True))
    loss = loss_of(net, stage, noise_batch(np.random.default_rng(0)))
    torch.autograd.backward(loss)
    for optimizer in optimizers:
        optimizer.step()
    changed = {name for name, v in net.state_dict().items() if not torch.equal(v, before[name])}
    assert {name.split(".")[0] for name in changed} == PARTS[stage]
    assert any(name.endswith("running_mean") for name in changed)


class KilledError(Exception):
    """The run was stopped from outside."""


def train(
    net: ATPN, out: Path, stage: str, kill_at: int | None = None, settle: float = 1.0
) -> None:
    """Train a few steps, validating and saving every four; die after a checkpoint."""
    validations = 0

    def validate(_: ATPN) -> Report:
        nonlocal validations
        validations += 1
        if validations * 4 == kill_at:
            raise KilledError
        return Report()

    out.mkdir(exist_ok=True)
    plan = Plan(steps=STEPS, batch=4, rate=1e-3, warmup=3, settle=settle, orthogonal=True)
    train_stage(net, stage, plan, Feed(noise_batch, 3), Journal(out, validate, 4))


@pytest.mark.parametrize(
    ("stage", "settle"), [("alignment", 1), ("pose", 1), ("alignment", 0.5), ("alignment", 0.2)]
)
def test_a_killed_run_ends_like_one_that_was_not(stage: str, settle: float, tmp_path: Path) -> None:
    """Whether its batch norms settle never, after it was killed or at that very step."""
    whole, killed, resumed = tiny_net(), tiny_net(), tiny_net(seed=9)
    resumed.backbone.load_state_dict(whole.backbone.state_dict())
    train(whole, tmp_path / "whole", stage, settle=settle)
    with pytest.raises(KilledError):
        train(killed, tmp_path / "killed", stage, KILLED_AT, settle)
    train(resumed, tmp_path / "killed", stage, settle=settle)
    expected, found = whole.state_dict(), resumed.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_settled_batch_norms_keep_their_statistics(tmp_path: Path) -> None:
    """The weights learn on; what is validated and left is normalised by the old statistics."""
    net = tiny_net()
    shake_batch_norm(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def validate(averaged: ATPN) -> Report:
        for name, value in averaged.named_buffers():
            torch.testing.assert_close(value, before[name], msg=name)
        return Report()

    plan = Plan(steps=3, batch=4, rate=1e-3, warmup=1, settle=0)
    for _ in range(2):  # the second finds the run at its end
        train_stage(net, "alignment", plan, Feed(noise_batch, 3), Journal(tmp_path, validate, 2))
        validate(net)
        learned = {n for n, v in net.named_parameters() if not torch.equal(v, before[n])}
        assert {name.split(".")[0] for name in learned} == PARTS["alignment"]


def test_batch_norms_settle_on_statistics_that_are_measured_once(tmp_path: Path) -> None:
    """From then on those of the averaged network, which is validated, do not change either."""
    seen: list[dict[str, torch.Tensor]] = []

    def validate(averaged: ATPN) -> Report:
        assert not any(module.training for module in averaged.modules())
        seen.append({name: value.clone() for name, value in averaged.named_buffers()})
        return Report()

    plan = Plan(steps=16, batch=4, rate=1e-3, warmup=1, settle=0.5)
    net = tiny_net()
    train_stage(net, "alignment", plan, Feed(noise_batch, 3), Journal(tmp_path, validate, 4))
    before, at, after, last = (statistics["backbone.stem.1.running_mean"] for statistics in seen)
    assert not torch.equal(before, at)
    assert not torch.equal(at, after)
    assert torch.equal(after, last)


@pytest.mark.parametrize("given", ["-0.1", "1.5", "nan", "half"])
def test_what_is_no_share_of_the_steps_is_refused(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--data", "d", "--out", "o", "--settle", given])
    assert "--settle" in capsys.readouterr().err


def test_a_run_that_had_ended_gives_the_same_network_again(tmp_path: Path) -> None:
    """Its statistics come from samples that depend on nothing but seed and steps."""
    first, again = tiny_net(), tiny_net()
    for net in (first, again):
        train(net, tmp_path, "alignment")
    for name, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 1 + STEPS // 4


def test_the_log_has_a_row_a_validation(tmp_path: Path) -> None:
    train(tiny_net(), tmp_path, "pose")
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0].startswith("stage,step,loss")
    assert [line.split(",")[1] for line in lines[1:]] == ["4", "8", "12", "16", "20"]


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    plan = Plan(steps=100, batch=1, rate=1.0, warmup=10, fall=0.5)
    assert plan.rate_at(0) == pytest.approx(0.1)
    assert plan.rate_at(30) == 1
    assert plan.rate_at(75) == pytest.approx(0.5)
    assert plan.rate_at(99) == pytest.approx(0.02)


def test_the_mean_shape_fills_two_thirds_of_the_crop() -> None:
    points = made_up_faces(1).points
    shape = mean_shape(points)
    assert (shape.amax(0) - shape.amin(0)).max() == pytest.approx(1 / 1.5, abs=1e-5)
    assert torch.allclose((shape.amax(0) + shape.amin(0)) / 2, torch.tensor(0.5), atol=1e-5)


def test_weights_are_read_as_the_network_that_they_are_of(tmp_path: Path) -> None:
    """Of a finished stage and of one in its middle, without being told the configuration."""
    net = tiny_net()
    shake_batch_norm(net)
    train(net, tmp_path, "alignment", settle=0.0)
    save_weights(net, tmp_path / "alignment.done.pt")
    for name, rounding in (("alignment.done.pt", 2.0**-11), ("alignment.pt", 0.0)):
        read = load_net(tmp_path / name)
        assert read.cfg == net.cfg
        for key, value in net.state_dict().items():
            found = read.state_dict()[key]
            assert found.dtype == value.dtype
            torch.testing.assert_close(found, value, rtol=rounding, atol=1e-7, msg=key)


def test_finished_weights_take_half_the_room(tmp_path: Path) -> None:
    net = ATPN()
    save_weights(net, tmp_path / "half.pt")
    torch.save(net.state_dict(), tmp_path / "whole.pt")
    half, whole = ((tmp_path / name).stat().st_size for name in ("half.pt", "whole.pt"))
    assert half < 0.6 * whole


def test_weights_of_before_they_said_what_they_are_of_are_the_whole_network(tmp_path: Path) -> None:
    torch.save(ATPN().state_dict(), tmp_path / "old.pt")
    assert load_net(tmp_path / "old.pt").cfg == NetConfig()

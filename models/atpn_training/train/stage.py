"""One stage: what it changes, how it steps, and the weights that it leaves."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from atpn_training.data.batches import Batch, batches
from atpn_training.network.atpn import ATPN
from atpn_training.train.checkpoint import Checkpoint, Curve
from atpn_training.train.losses import alignment_loss, pose_loss, rotation_loss, tracking_loss
from atpn_training.train.muon import Muon, is_matrix
from atpn_training.train.plan import Plan
from atpn_training.train.validate import Report

RECENT = 16  # batches that a validation's batch-norm statistics come from
MEASURED_ON = 8192  # crops that those of the finished network come from
AVERAGE_EVERY = 4  # steps; at each one, averaging would take 8 % of a step


def trained_part(net: ATPN, stage: str) -> list[nn.Module]:
    """The modules that a stage changes; everything else is frozen (section 3.5)."""
    parts: dict[str, list[nn.Module | None]] = {
        "alignment": [net.backbone, net.alignment],
        "tracking": [net.tracking, net.tracking_features],
        "pose": [net.pose, net.pose_features],
    }
    return [part for part in parts[stage] if part is not None]


def loss_of(net: ATPN, stage: str, batch: Batch, as_rotations: bool = False) -> Tensor:
    """The stage's loss on one batch; `Plan.as_rotations`."""
    images = batch["image"].to(memory_format=torch.channels_last)
    if stage == "alignment":
        return alignment_loss(net.align(images)[0], batch["points"], batch["weight"])
    with torch.no_grad():
        aligned = net.align(images)
    for_pose, for_tracking = net.fuse(images, *aligned)
    if stage == "tracking":
        return tracking_loss(net.tracking(for_tracking), batch["face"])
    loss = rotation_loss if as_rotations else pose_loss
    return loss(net.euler(for_pose), batch["euler"])


def freeze(net: ATPN, stage: str, settled: bool = False) -> None:
    """Only the stage's modules learn, and unless ``settled`` their batch norms take statistics."""
    net.eval().requires_grad_(False)
    for module in trained_part(net, stage):
        module.train(not settled).requires_grad_(True)


def refresh_batch_norm(net: ATPN, stage: str, samples: Iterable[Batch]) -> None:
    """Measure batch-norm statistics anew: averaged weights have none of their own.

    Few samples are costly: the same weights have an NME of 3.42 % with 512, 3.06 % with 1024.
    """
    norms = [
        m
        for part in trained_part(net, stage)
        for m in part.modules()
        if isinstance(m, nn.BatchNorm2d)
    ]
    freeze(net, stage)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    with torch.no_grad():
        for batch in samples:
            loss_of(net, stage, batch)
    for norm in norms:
        norm.momentum = 0.1
    net.eval()


def optimizers_of(net: ATPN, stage: str, plan: Plan) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices where the plan says so.

    Weight decay is on weights of convolutions and linear layers only.
    """
    parameters = [p for module in trained_part(net, stage) for p in module.parameters()]
    matrices = [p for p in parameters if plan.orthogonal and is_matrix(p)]
    taken = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": plan.decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.999), fused=True)
    return [adam, Muon(matrices, lr=plan.rate, weight_decay=plan.decay)] if matrices else [adam]


@dataclass(frozen=True)
class Feed:
    """Where a stage's batches come from: batch ``k`` of a seed is always the same."""

    draw: Callable[[Generator], Batch]
    seed: int
    workers: int = 0

    def between(self, first: int, last: int) -> Iterator[Batch]:
        """Batches ``first`` .. ``last - 1``, made ahead by the workers."""
        return iter(batches(self.draw, self.seed, first, last, self.workers))

    def after(self, plan: Plan) -> Iterator[Batch]:
        """Those beyond the plan's, for the finished network's statistics."""
        count = -(-MEASURED_ON // plan.batch)
        return (self.draw(np.random.default_rng([self.seed, plan.steps + k])) for k in range(count))


@dataclass(frozen=True)
class Journal:
    """Where a stage's states and errors are written, and how often."""

    out: Path
    validate: Callable[[ATPN], Report]
    every: int  # steps between validations

    def due(self, step: int, plan: Plan) -> bool:
        """Whether to validate and save after so many steps."""
        return step % self.every == 0 or step == plan.steps


class Learner:
    """A network in training, its averaged weights, and what moves it."""

    def __init__(self, net: ATPN, stage: str, plan: Plan) -> None:
        freeze(net, stage)
        self.net, self.stage, self.plan = net, stage, plan
        averaging = get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
            plan.average**AVERAGE_EVERY
        )
        self.average = AveragedModel(net, multi_avg_fn=averaging, use_buffers=False)
        self.optimizers = optimizers_of(net, stage, plan)

    @property
    def averaged(self) -> ATPN:
        """The network of the averaged weights."""
        return cast(ATPN, self.average.module)

    def settle(self, samples: Iterable[Batch]) -> None:
        """Go on from the averaged weights, with statistics of these samples."""
        self.net.load_state_dict(self.averaged.state_dict())
        refresh_batch_norm(self.net, self.stage, samples)

    def learn(self, step: int, batch: Batch) -> float:
        """Take one step; its loss."""
        plan = self.plan
        freeze(self.net, self.stage, step >= plan.settles_at)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate_at(step)
            optimizer.zero_grad()
        loss = loss_of(self.net, self.stage, batch, plan.as_rotations)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for p in self.net.parameters() if p.requires_grad], 5.0)
        for optimizer in self.optimizers:
            optimizer.step()
        if (step + 1) % AVERAGE_EVERY == 0 or step + 1 == plan.steps:
            self.average.update_parameters(self.net)
        return loss.item()


def train_stage(net: ATPN, stage: str, plan: Plan, feed: Feed, journal: Journal) -> None:
    """Train one stage and leave the averaged weights in ``net``.

    Batch norms take the statistics of each batch until the plan settles them: then the averaged
    weights go on, with statistics that are measured once and kept. From the first step on, those
    are kept that the network has.
    """
    learner = Learner(net, stage, plan)
    checkpoint, curve = Checkpoint(journal.out / f"{stage}.pt"), Curve(journal.out / "curve.csv")
    first = checkpoint.load(net, learner.average, learner.optimizers)
    batches_ahead = feed.between(first, plan.steps)
    recent: list[Batch] = []
    running: float | None = None
    progress = tqdm(range(first, plan.steps), initial=first, total=plan.steps, desc=stage)
    for step in progress:
        if step == plan.settles_at > 0:
            learner.settle(feed.after(plan))
        batch = next(batches_ahead)
        loss = learner.learn(step, batch)
        running = loss if running is None else 0.98 * running + 0.02 * loss
        recent = [*recent[1 - RECENT :], batch]
        progress.set_postfix(loss=f"{running:.4f}", rate=f"{plan.rate_at(step):.1e}")
        if journal.due(step + 1, plan):
            checkpoint.save(step + 1, net, learner.average, learner.optimizers)
            if step < plan.settles_at:
                ended = step + 1 == plan.steps
                refresh_batch_norm(learner.averaged, stage, feed.after(plan) if ended else recent)
            report = journal.validate(learner.averaged.eval())
            curve.add(stage, step + 1, running, report)
            progress.write(f"{stage} {step + 1}: loss {running:.4f}, {report}")
    net.load_state_dict(learner.averaged.state_dict())
    if first >= plan.steps == plan.settles_at:  # resumed at the end, never settled
        refresh_batch_norm(net, stage, feed.after(plan))

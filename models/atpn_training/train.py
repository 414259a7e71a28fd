"""Trains ATPN in three stages: alignment, then tracking, then pose.

    python -m atpn_training.train --data DATA --out RUN [--stage all] [--variant full]

Every stage writes RUN/<stage>.pt as it goes and continues from it when started again.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from atpn_training.batches import Batch, Sampler, batches
from atpn_training.data import (
    load_backgrounds,
    load_faces,
    load_meshes,
    load_scenes,
    scrambled,
    split_list,
)
from atpn_training.losses import alignment_loss, pose_loss, tracking_loss
from atpn_training.muon import Muon, is_matrix
from atpn_training.net import ATPN, VARIANTS, NetConfig
from atpn_training.profiles import profiles
from atpn_training.validate import Report, Validation

STAGES = ("alignment", "tracking", "pose")
OPEN_BACKGROUNDS = 400
RECENT = 16  # batches that a validation's batch-norm statistics come from
MEASURED_ON = 8192  # crops that those of the finished network come from
AVERAGE_EVERY = 4  # steps; at each one, averaging would take 8 % of a step


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
    decay: float = 1e-4  # L2 penalty (decoupled, as in AdamW)
    average: float = 0.998  # of the weights that are shipped
    settle: float = 1.0  # share of the steps after which batch norms keep their statistics
    orthogonal: bool = False  # Muon for the matrices, in place of AdamW

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


def trained_part(net: ATPN, stage: str) -> list[nn.Module]:
    """The modules that a stage changes; everything else is frozen (section 3.5)."""
    parts: dict[str, list[nn.Module | None]] = {
        "alignment": [net.backbone, net.alignment],
        "tracking": [net.tracking, net.tracking_features],
        "pose": [net.pose, net.pose_features],
    }
    return [part for part in parts[stage] if part is not None]


def loss_of(net: ATPN, stage: str, batch: Batch) -> Tensor:
    """The stage's loss on one batch."""
    images = batch["image"].to(memory_format=torch.channels_last)
    if stage == "alignment":
        points, _ = net.align(images)
        return alignment_loss(points, batch["points"], batch["weight"])
    with torch.no_grad():
        aligned = net.align(images)
    for_pose, for_tracking = net.fuse(images, *aligned)
    if stage == "tracking":
        return tracking_loss(net.tracking(for_tracking), batch["face"])
    return pose_loss(net.euler(for_pose), batch["euler"])


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
    decay = plan.decay * 10
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.999), fused=True)
    return [adam, Muon(matrices, lr=plan.rate, weight_decay=decay)] if matrices else [adam]


@dataclass
class Checkpoint:
    """What a stage needs to go on: both sets of weights, the optimisers and the step."""

    path: Path

    def save(
        self,
        step: int,
        net: ATPN,
        average: AveragedModel,
        optimizers: list[torch.optim.Optimizer],
    ) -> None:
        """Write atomically, so that a killed run leaves the previous one."""
        state = {
            "step": step,
            "net": net.state_dict(),
            "average": average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def load(
        self, net: ATPN, average: AveragedModel, optimizers: list[torch.optim.Optimizer]
    ) -> int:
        """The step to go on from; 0 where nothing was saved."""
        if not self.path.exists():
            return 0
        state = torch.load(self.path, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return int(state["step"])


def saved_step(path: Path) -> int:
    """The step that a checkpoint was written at; 0 where there is none."""
    return int(torch.load(path, weights_only=True)["step"]) if path.exists() else 0


class Curve:
    """The run's log: one CSV row per validation."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, stage: str, step: int, loss: float, report: Report) -> None:
        """Append a row, with a header in a new file."""
        row = {"stage": stage, "step": step, "loss": f"{loss:.5f}", **report.row()}
        new = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def train_stage(
    net: ATPN,
    stage: str,
    plan: Plan,
    draw: Callable[[Generator], Batch],
    validate: Callable[[ATPN], Report],
    out: Path,
    seed: int,
    workers: int,
    every: int,
) -> None:
    """Train one stage and leave the averaged weights in ``net``.

    Batch norms take the statistics of each batch until the plan settles them: then the averaged
    weights go on, with statistics that are measured once and kept. From the first step on, those
    are kept that the network has.
    """
    freeze(net, stage)
    average = AveragedModel(
        net,
        multi_avg_fn=get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
            plan.average**AVERAGE_EVERY
        ),
        use_buffers=False,
    )
    optimizers = optimizers_of(net, stage, plan)
    checkpoint = Checkpoint(out / f"{stage}.pt")
    first = checkpoint.load(net, average, optimizers)
    curve = Curve(out / "curve.csv")
    recent: list[Batch] = []
    running = 0.0

    def fresh() -> Iterator[Batch]:
        count = -(-MEASURED_ON // plan.batch)
        return (draw(np.random.default_rng([seed, plan.steps + k])) for k in range(count))

    feed: Iterator[Batch] = iter(batches(draw, seed, first, plan.steps, workers))
    progress = tqdm(range(first, plan.steps), initial=first, total=plan.steps, desc=stage)
    for step in progress:
        settled = step >= plan.settles_at
        if step == plan.settles_at > 0:
            net.load_state_dict(average.module.state_dict())
            refresh_batch_norm(net, stage, fresh())
        freeze(net, stage, settled)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.rate_at(step)
        batch = next(feed)
        loss = loss_of(net, stage, batch)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for p in net.parameters() if p.requires_grad], 5.0)
        for optimizer in optimizers:
            optimizer.step()
        if (step + 1) % AVERAGE_EVERY == 0 or step + 1 == plan.steps:
            average.update_parameters(net)
        running = loss.item() if step == first else 0.98 * running + 0.02 * loss.item()
        recent = [*recent[1 - RECENT :], batch]
        progress.set_postfix(loss=f"{running:.4f}", rate=f"{plan.rate_at(step):.1e}")
        if (step + 1) % every == 0 or step + 1 == plan.steps:
            checkpoint.save(step + 1, net, average, optimizers)
            averaged = cast(ATPN, average.module).eval()
            if not settled:
                samples = recent if step + 1 < plan.steps else fresh()
                refresh_batch_norm(averaged, stage, samples)
            report = validate(averaged)
            curve.add(stage, step + 1, running, report)
            progress.write(f"{stage} {step + 1}: loss {running:.4f}, {report}")
    net.load_state_dict(average.module.state_dict())
    if first >= plan.steps == plan.settles_at:  # resumed at the end, never settled
        refresh_batch_norm(net, stage, fresh())


@dataclass(frozen=True)
class Material:
    """What the stages draw their batches from and are validated on."""

    draws: dict[str, Callable[..., Batch]]
    validations: dict[str, Callable[[ATPN], Report]]
    mean_shape: Tensor

    @classmethod
    def load(
        cls, data: Path, open_only: bool = False, turned: int = 0, consensus: Path | None = None
    ) -> "Material":
        """Read the whole data folder; ``turned`` profiles are made.

        ``open_only``: train on openly licensed images alone. Backgrounds and scenes have no
        stated terms: scrambled faces then stand in for them.
        """
        faces = load_faces(data, "train", open_only, consensus)
        made = profiles(faces, load_meshes(data, "train", open_only), turned) if turned else None
        backgrounds = load_backgrounds(data)
        scenes = load_scenes(data)
        validation = Validation.load(
            data, split_list(backgrounds, "val"), split_list(scenes, "val")
        )
        if open_only:
            scrap = scrambled(faces.images, OPEN_BACKGROUNDS)
            return cls.of(Sampler(faces, scrap, profiles=made), validation)
        backgrounds, scenes = split_list(backgrounds, "train"), split_list(scenes, "train")
        return cls.of(Sampler(faces, backgrounds, scenes, made), validation)

    @classmethod
    def of(cls, sampler: Sampler, validation: Validation) -> "Material":
        """What each stage takes of the samples and of the validation."""
        return cls(
            {"alignment": sampler.aligned, "tracking": sampler.judged, "pose": sampler.posed},
            {
                "alignment": validation.alignment,
                "tracking": validation.tracking,
                "pose": validation.pose,
            },
            mean_shape(sampler.faces.points),
        )


@dataclass(frozen=True)
class Run:
    """A folder of checkpoints, and how its stages are fed."""

    out: Path
    material: Material
    seed: int = 0
    workers: int = 1
    every: int = 500  # steps between validations

    def finished(self, stage: str) -> Path:
        """Where a finished stage's weights are."""
        return self.out / f"{stage}.done.pt"

    def new_net(self, variant: str) -> ATPN:
        """An untrained network; ValueError if the folder holds another variant's run."""
        self.out.mkdir(parents=True, exist_ok=True)
        note = self.out / "variant.txt"
        before = "full" if any(self.out.glob("*.pt")) else variant  # runs of old have no note
        known = note.read_text().strip() if note.exists() else before
        if known != variant:
            raise ValueError(f"{self.out} is a run of the variant {known!r}, not {variant!r}")
        note.write_text(f"{variant}\n")
        torch.manual_seed(self.seed)
        net = ATPN(NetConfig(variant=VARIANTS[variant]), self.material.mean_shape)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def train(self, net: ATPN, stage: str, plan: Plan) -> None:
        """Train a stage from where it stopped and leave its weights in ``net``."""
        done = self.finished(stage)
        if done.exists() and saved_step(self.out / f"{stage}.pt") >= plan.steps:
            net.load_state_dict(torch.load(done, weights_only=True))
            print(f"{stage}: was finished before, weights in {done}")
            return
        started = time.monotonic()
        train_stage(
            net,
            stage,
            plan,
            partial(self.material.draws[stage], size=plan.batch),
            self.material.validations[stage],
            self.out,
            self.seed * 10 + STAGES.index(stage),
            self.workers,
            self.every,
        )
        torch.save(net.state_dict(), done)
        print(f"{stage}: {time.monotonic() - started:.0f} s, weights in {done}")


def share(text: str) -> float:
    """A share from the command line, 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and log")
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--variant", choices=VARIANTS, default="full", help="of the ablation")
    parser.add_argument("--steps", type=int, help="instead of the plan's")
    parser.add_argument("--batch", type=int, help="instead of the plan's")
    parser.add_argument("--rate", type=float, help="instead of the plan's")
    parser.add_argument("--init", type=Path, help="weights to start from (a .pt of net states)")
    parser.add_argument(
        "--settle",
        type=share,
        metavar="SHARE",
        help="of the steps after which batch norms keep their statistics (0: from the start)",
    )
    parser.add_argument("--open-only", action="store_true", help="openly licensed faces only")
    parser.add_argument("--profiles", type=int, default=0, help="heads turned on (2000)")
    parser.add_argument("--consensus", type=Path, help="file of atpn_training.consensus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=500, help="steps between validations")
    return parser.parse_args()


def main() -> None:
    """Run the stages that were asked for, one after the other."""
    args = parse()
    cv2.setNumThreads(1)
    material = Material.load(args.data, args.open_only, args.profiles, args.consensus)
    run = Run(args.out, material, args.seed, args.workers, args.every)
    net = run.new_net(args.variant)
    if args.init is not None:
        net.load_state_dict(torch.load(args.init, weights_only=True))
    for stage in STAGES if args.stage == "all" else [args.stage]:
        before = run.finished(STAGES[STAGES.index(stage) - 1])
        if stage != "alignment" and before.exists():
            net.load_state_dict(torch.load(before, weights_only=True))
        run.train(net, stage, adapted(PLANS[stage], args))


def adapted(plan: Plan, args: argparse.Namespace) -> Plan:
    """The plan with what the command line gives in the place of its own."""
    return replace(
        plan,
        steps=args.steps or plan.steps,
        batch=args.batch or plan.batch,
        rate=args.rate or plan.rate,
        settle=plan.settle if args.settle is None else args.settle,
    )


def mean_shape(points: np.ndarray) -> Tensor:
    """S0: the mean of all faces as a perfect ROI shows them, in units of the crop's side."""
    low, high = points.min(1), points.max(1)
    side = (high - low).max(1) * 1.5
    shapes = (points - ((low + high) / 2)[:, None]) / side[:, None, None] + 0.5
    return torch.from_numpy(shapes.mean(0)).float()


if __name__ == "__main__":
    main()

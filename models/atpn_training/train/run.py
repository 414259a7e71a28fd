"""A run: the folder of its checkpoints, what its stages are fed with, and their order."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from atpn_training.data.batches import Batch, Sampler
from atpn_training.data.faces import load_faces, load_meshes
from atpn_training.data.held_back import Validation
from atpn_training.data.images import FRAMED, Array
from atpn_training.data.profiles import profiles
from atpn_training.data.scenes import load_backgrounds, load_scenes, scrambled, split_list
from atpn_training.data.views import SHARE, views
from atpn_training.network.atpn import ATPN
from atpn_training.network.config import VARIANTS, NetConfig
from atpn_training.train import validate
from atpn_training.train.checkpoint import load_weights, save_weights, saved_step
from atpn_training.train.plan import STAGES, Plan
from atpn_training.train.stage import Feed, Journal, train_stage
from atpn_training.train.validate import Report

OPEN_BACKGROUNDS = 400


@dataclass(frozen=True)
class Sources:
    """What of a data folder is trained on."""

    data: Path
    #: Openly licensed images alone. Backgrounds and scenes have no stated terms: scrambled faces
    #: then stand in for them.
    open_only: bool = False
    turned: int = 0  # profiles that are made; of openly licensed faces views, for all stages

    def sampler(self) -> Sampler:
        """Reads the training faces and what goes with them."""
        faces = load_faces(self.data, "train", self.open_only)
        meshes = load_meshes(self.data, "train", self.open_only) if self.turned else None
        if self.open_only:
            backgrounds = scrambled(faces.images, OPEN_BACKGROUNDS)
            if meshes is not None:
                faces = faces.with_share(views(faces, meshes, self.turned), SHARE)
            return Sampler(faces, backgrounds)
        made = profiles(faces, meshes, self.turned) if meshes is not None else None
        backgrounds = split_list(load_backgrounds(self.data), "train")
        return Sampler(faces, backgrounds, split_list(load_scenes(self.data), "train"), made)

    def validation(self) -> Validation:
        """The held-back faces, the same for all."""
        backgrounds, scenes = load_backgrounds(self.data), load_scenes(self.data)
        return Validation.load(self.data, split_list(backgrounds, "val"), split_list(scenes, "val"))


@dataclass(frozen=True)
class Material:
    """What the stages draw their batches from and are validated on."""

    draws: dict[str, Callable[..., Batch]]
    validations: dict[str, Callable[[ATPN], Report]]
    mean_shape: Tensor

    @classmethod
    def load(cls, sources: Sources) -> "Material":
        """Read the whole data folder."""
        return cls.of(sources.sampler(), sources.validation())

    @classmethod
    def of(cls, sampler: Sampler, validation: Validation) -> "Material":
        """What each stage takes of the samples and of the validation."""
        return cls(
            {
                "alignment": sampler.aligned,
                "tracking": sampler.judged,
                "pose": sampler.posed,
            },
            {
                "alignment": partial(validate.alignment, validation=validation),
                "tracking": partial(validate.tracking, validation=validation),
                "pose": partial(validate.pose, validation=validation),
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

    def before(self, stage: str) -> Path | None:
        """The weights of the stage before; None where there are none."""
        earlier = [self.finished(name) for name in STAGES[: STAGES.index(stage)]]
        return earlier[-1] if earlier and earlier[-1].exists() else None

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
            net.load_state_dict(load_weights(done))
            print(f"{stage}: was finished before, weights in {done}")
            return
        started = time.monotonic()
        draw = partial(self.material.draws[stage], size=plan.batch)
        feed = Feed(draw, self.seed * 10 + STAGES.index(stage), self.workers)
        journal = Journal(self.out, self.material.validations[stage], self.every)
        train_stage(net, stage, plan, feed, journal)
        save_weights(net, done)
        net.load_state_dict(load_weights(done))  # the next stage goes on as a resumed run would
        print(f"{stage}: {time.monotonic() - started:.0f} s, weights in {done}")


def mean_shape(points: Array) -> Tensor:
    """S0: the mean of all faces as a perfect ROI shows them, in units of the crop's side."""
    low, high = points.min(1), points.max(1)
    side = (high - low).max(1) * FRAMED
    shapes = (points - ((low + high) / 2)[:, None]) / side[:, None, None] + 0.5
    return torch.from_numpy(shapes.mean(0)).float()

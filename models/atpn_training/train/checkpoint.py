"""What a run leaves behind: states to go on from, finished weights, the course of its errors."""

import csv
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from atpn_training.network.atpn import ATPN
from atpn_training.network.config import NetConfig, Variant
from atpn_training.train.validate import Report


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
            **identity(net),
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


def training_commit() -> str | None:
    """The commit of the checkout, with ``-dirty`` where files differ; None outside of one."""
    folder = Path(__file__).parent
    try:
        head, changes = (
            subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changes else head


def save_weights(net: ATPN, path: Path) -> None:
    """Write weights with what they are of: configuration, variant and the code's commit.

    Matrices and kernels are stored in half precision: no figure of `score.judge` notices.
    """
    states = {
        name: value.half() if value.is_floating_point() and value.dim() > 1 else value
        for name, value in net.state_dict().items()
    }
    torch.save({**identity(net), "net": states}, path)


def identity(net: ATPN) -> dict[str, Any]:
    """What weights are of: the network's configuration with its variant, and the code's commit."""
    return {"config": asdict(net.cfg), "commit": training_commit()}


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """The states of `save_weights`, of a checkpoint (its average), or bare ones of old."""
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "average" in saved:
        return {
            name.removeprefix("module."): value
            for name, value in saved["average"].items()
            if name.startswith("module.")
        }
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in saved.get("net", saved).items()
    }


def load_net(path: Path) -> ATPN:
    """The network of a file of weights, ready to answer."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    net = ATPN(config_of(saved.get("config")))
    net.load_state_dict(load_weights(path))
    return net.eval()


def config_of(saved: dict[str, Any] | None) -> NetConfig:
    """The configuration as it was saved; the shipped network's where none was."""
    if saved is None:
        return NetConfig()
    return NetConfig(**{**saved, "variant": Variant(**saved["variant"])})

"""Weights as files: what a run leaves, and the network they make, run by torch."""

from pathlib import Path

import numpy as np
import torch

from atpn.engine.inference import Predictions
from atpn_training.data import Images
from atpn_training.net import ATPN


class TorchNetwork:
    """Weights before export, as `atpn.engine.inference.FaceNetwork` answers."""

    def __init__(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if "average" in state:  # a checkpoint in the middle of a run
            state = {
                k.removeprefix("module."): v
                for k, v in state["average"].items()
                if k.startswith("module.")
            }
        self._net = ATPN()
        self._net.load_state_dict(state)
        self._net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def run(self, crops: Images) -> Predictions:
        """(N, 112, 112, 3) crops to predictions."""
        images = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
        return Predictions(*(answer.numpy() for answer in self._net(images)))

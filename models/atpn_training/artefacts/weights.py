"""Weights before export, answering as the served network does."""

from pathlib import Path

import numpy as np
import torch

from atpn.engine.inference import Predictions
from atpn_training.data.images import Images
from atpn_training.train.checkpoint import load_net


class TorchNetwork:
    """A file of weights as `atpn.engine.inference.FaceNetwork` answers."""

    def __init__(self, path: Path) -> None:
        self._net = load_net(path).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def run(self, crops: Images) -> Predictions:
        """(N, 112, 112, 3) crops to predictions."""
        images = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
        return Predictions(*(answer.numpy() for answer in self._net(images)))

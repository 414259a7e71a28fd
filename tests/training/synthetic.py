"""Made-up faces and batches, so that training is tested without data or weights."""

import numpy as np
import torch
from numpy.typing import NDArray

from atpn.geometry import Box
from atpn_training.batches import Sampler
from atpn_training.data import STORED, Faces, Scene
from atpn_training.net import ATPN, NetConfig

Array = NDArray[np.float32]


def tiny_net(seed: int = 0) -> ATPN:
    """The whole architecture with few channels."""
    torch.manual_seed(seed)
    cfg = NetConfig(stem=8, channels=(8, 12, 16), fpn=(8, 8, 16), vector=16, head=(8, 12))
    return ATPN(cfg)


def shake_batch_norm(net: torch.nn.Module, seed: int = 1) -> None:
    """Give batch norms statistics and gains that a trained network could have."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)


def face_points(rng: np.random.Generator) -> Array:
    """98 points (98, 2) inside the stored crop's landmark rectangle, eyes apart."""
    points = rng.uniform(STORED / 4, 3 * STORED / 4, (98, 2))
    points[60], points[72] = (STORED * 0.35, STORED * 0.4), (STORED * 0.65, STORED * 0.4)
    return points.astype(np.float32)


def made_up_faces(count: int = 4, seed: int = 0) -> Faces:
    """Labelled noise pictures."""
    rng = np.random.default_rng(seed)
    points = np.stack([face_points(rng) for _ in range(count)])
    euler = rng.normal(0, 0.3, (count, 3)).astype(np.float32)
    return Faces(
        images=rng.integers(0, 256, (count, STORED, STORED, 3)).astype(np.uint8),
        points=points,
        teacher=points,
        hand68=np.full((count, 68, 2), np.nan, np.float32),
        mesh=euler,
        euler=euler,
        spread=np.full(count, 0.01, np.float32),
        face_px=np.full(count, 100, np.float32),
        weight=np.ones(count, np.float32),
        source=np.array(["made_up"] * count),
    )


def made_up_sampler() -> Sampler:
    """A sampler of made-up faces, one background and one scene with a face box."""
    rng = np.random.default_rng(7)
    background, scene = (rng.integers(0, 256, (240, 320, 3)).astype(np.uint8) for _ in range(2))
    return Sampler(made_up_faces(), [background], [Scene(scene, (Box(100, 80, 160, 150),))])

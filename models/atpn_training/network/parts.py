"""The network's parts: backbone, alignment branch, heatmap, and the heads on it (section 3).

Shapes are written (B, C, H, W).
"""

import torch
from torch import Tensor, nn

from atpn_training.network.blocks import (
    Downsample,
    InvertedResidual,
    Multiview,
    conv_bn,
    conv_bn_global,
    coord_conv_bn,
    stage,
)
from atpn_training.network.config import NetConfig


def low_level_features(cfg: NetConfig) -> tuple[nn.Sequential, nn.Sequential]:
    """Stem and first stage: (B, 3, 112, 112) -> (B, C, 28, 28)."""
    stem = conv_bn(3, cfg.stem, 3, stride=2)
    channels, expansion = cfg.channels[0], cfg.expansion[0]
    return stem, stage(cfg.stem, channels, 1, expansion, nn.ReLU, squeeze=False)


class Backbone(nn.Module):
    """MobileNet-V3 blocks: (B, 3, 112, 112) to features at 28x28, 14x14 and 7x7."""

    def __init__(self, cfg: NetConfig) -> None:
        super().__init__()
        c1, c2, c3 = cfg.channels
        _, e2, e3 = cfg.expansion
        self.stem, self.stage1 = low_level_features(cfg)
        self.stage2 = stage(c1, c2, 3, e2, nn.ReLU, squeeze=True)
        self.stage3 = stage(c2, c3, 4, e3, nn.Hardswish, squeeze=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f1 = self.stage1(self.stem(x))
        f2 = self.stage2(f1)
        return f1, f2, self.stage3(f2)


class AlignmentBranch(nn.Module):
    """Fuses the three levels and predicts the residual to the mean shape (section 3.2)."""

    def __init__(self, cfg: NetConfig) -> None:
        super().__init__()
        c1, c2, c3 = cfg.channels
        w1, w2, w3 = cfg.fpn
        view = Multiview if cfg.variant.multiview else nn.Identity
        coordinates = cfg.variant.coordinates
        self.points = cfg.points
        self.lateral1 = conv_bn(c1, w1, 1, act=None)
        self.lateral2 = conv_bn(c2, w2, 1, act=None)
        self.lateral3 = conv_bn(c3, w3, 1, act=None)
        self.up3 = nn.ConvTranspose2d(w3, w2, 2, stride=2)
        self.up2 = nn.ConvTranspose2d(w2, w1, 2, stride=2)
        self.multiview1 = view(w1)
        self.multiview2 = view(w2)
        self.multiview3 = view(w3)
        self.down1 = Downsample(w1, w2, coordinates)
        self.down2 = Downsample(w2, w3, coordinates)
        self.mix, self.project, self.regress = regression(cfg)

    def forward(self, f1: Tensor, f2: Tensor, f3: Tensor) -> Tensor:
        p3 = self.lateral3(f3)
        p2 = self.lateral2(f2) + self.up3(p3)
        p1 = self.lateral1(f1) + self.up2(p2)
        d2 = self.multiview2(p2) + self.down1(self.multiview1(p1))
        d3 = self.multiview3(p3) + self.down2(d2)
        v = self.project(self.mix(d3)).flatten(1)  # (B, vector)
        return self.regress(v).view(-1, self.points, 2)  # type: ignore[no-any-return]


class LastLayerBranch(nn.Module):
    """The ablation's baseline: the residual from the 7x7 features alone."""

    def __init__(self, cfg: NetConfig) -> None:
        super().__init__()
        channels, width = cfg.channels[2], cfg.fpn[2]
        self.points = cfg.points
        self.lateral3 = conv_bn(channels, width, 1, act=None)
        self.multiview3 = Multiview(width) if cfg.variant.multiview else nn.Identity()
        self.mix, self.project, self.regress = regression(cfg)

    def forward(self, _f1: Tensor, _f2: Tensor, f3: Tensor) -> Tensor:
        v = self.project(self.mix(self.multiview3(self.lateral3(f3)))).flatten(1)
        return self.regress(v).view(-1, self.points, 2)  # type: ignore[no-any-return]


def regression(cfg: NetConfig) -> tuple[nn.Module, nn.Module, nn.Linear]:
    """The end of the alignment branch: the 7x7 map mixed, projected to a vector, regressed."""
    mix = coord_conv_bn if cfg.variant.coordinates else conv_bn
    layers = mix(cfg.fpn[2], cfg.vector, 1), conv_bn_global(cfg.vector, cfg.input_size // 16)
    regress = nn.Linear(cfg.vector, cfg.points * 2)
    nn.init.zeros_(regress.bias)
    nn.init.normal_(regress.weight, std=1e-3)
    return *layers, regress


def heatmap(landmarks: Tensor, size: int) -> Tensor:
    """H = 1 / sqrt(1 + distance to the nearest landmark), at least 0.5 (eq. 2).

    ``landmarks`` (B, points, 2) in units of the crop's side; distances in cells of the
    ``size`` x ``size`` grid, so that the floor is reached three cells from a landmark.
    Returns (B, 1, size, size).
    """
    centres = torch.arange(size, dtype=landmarks.dtype, device=landmarks.device) + 0.5
    p = (landmarks * size).transpose(1, 2).unsqueeze(-1)  # (B, 2, points, 1)
    squared = (p - centres).square()  # (B, 2, points, size)
    x2, y2 = squared[:, 0], squared[:, 1]
    d2 = (y2.unsqueeze(-1) + x2.unsqueeze(-2)).amin(1)  # (B, size, size)
    # The floor makes distances beyond 3 irrelevant; the epsilon keeps the gradient finite.
    return (1 + (d2 + 1e-12).sqrt()).rsqrt().clamp_min(0.5).unsqueeze(1)


class Head(nn.Module):
    """MobileNet-V3 blocks on F_O, pooled to a vector: the pose and the tracking branch."""

    def __init__(self, cfg: NetConfig, outputs: int) -> None:
        super().__init__()
        c0, (c1, c2) = cfg.channels[0], cfg.head
        self.body = nn.Sequential(
            InvertedResidual(c0, c0 * 3, c1, 2, nn.ReLU, squeeze=True),
            InvertedResidual(c1, c1 * 3, c1, 1, nn.ReLU, squeeze=True),
            InvertedResidual(c1, c1 * 4, c2, 2, nn.Hardswish, squeeze=True),
            InvertedResidual(c2, c2 * 3, c2, 1, nn.Hardswish, squeeze=True),
        )
        self.project = conv_bn_global(c2, cfg.input_size // 16)
        self.regress = nn.Linear(c2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        v = self.project(self.body(x)).flatten(1)
        return self.regress(v)  # type: ignore[no-any-return]

"""The whole ATPN network: backbone, alignment branch, heatmap, pose and tracking branches.

Source: Xia et al., "An Efficient Multitask Neural Network for Face Alignment, Head Pose
Estimation and Face Tracking" (arXiv 2103.07615), section 3. Shapes are written (B, C, H, W).
"""

from dataclasses import dataclass
from functools import partial
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Variant:
    """Which of the paper's parts a network has; all of them: the shipped network."""

    low_level: bool = True  # the 28x28 and 14x14 features help to align, fused as in an FPN
    multiview: bool = True
    coordinates: bool = True  # CoordConv instead of plain convolutions of the same size
    heatmap: bool = True  # without it the heads see F_I, not F_O
    sharing: bool = True  # without it each head has low-level features of its own


#: The networks of the paper's ablations (tables 4, 8 and 9), each one part from its neighbour.
VARIANTS = {
    "baseline": Variant(low_level=False, multiview=False, coordinates=False),
    "low-level": Variant(multiview=False, coordinates=False),
    "multiview": Variant(coordinates=False),
    "full": Variant(),
    "no-heatmap": Variant(heatmap=False),
    "no-sharing": Variant(sharing=False),
}


@dataclass(frozen=True)
class NetConfig:
    """What fixes the architecture; the defaults are the shipped network."""

    points: int = 98
    input_size: int = 112  # pixels; gives feature maps of 28, 14 and 7
    stem: int = 16
    channels: tuple[int, int, int] = (24, 48, 96)  # backbone at 28x28, 14x14, 7x7
    expansion: tuple[int, int, int] = (3, 3, 4)  # inside the blocks of each stage
    fpn: tuple[int, int, int] = (32, 64, 128)  # alignment branch at 28x28, 14x14, 7x7
    vector: int = 512  # length of the vector that the 7x7 map is projected to
    head: tuple[int, int] = (48, 96)  # pose and tracking branches at 14x14, 7x7
    variant: Variant = Variant()


# --- Building blocks ---------------------------------------------------------------------


def conv_bn(
    c_in: int,
    c_out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution without bias, batch norm, activation; padding keeps H and W at stride 1."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(c_out)]
    if act is not None:
        layers.append(act())
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """MobileNet-V3's channel attention: a hard sigmoid of pooled features."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        s = x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(s))))


class InvertedResidual(nn.Module):
    """MobileNet-V3 block: 1x1 expand, depthwise, optional squeeze-excite, 1x1 project."""

    def __init__(
        self,
        c_in: int,
        c_mid: int,
        c_out: int,
        stride: int,
        act: type[nn.Module],
        squeeze: bool,
    ) -> None:
        super().__init__()
        self.skip = stride == 1 and c_in == c_out
        layers: list[nn.Module] = [
            conv_bn(c_mid, c_mid, 3, stride, groups=c_mid, act=act),
        ]
        if c_mid != c_in:  # as in MobileNet-V3's first block, no expansion means no 1x1
            layers.insert(0, conv_bn(c_in, c_mid, 1, act=act))
        if squeeze:
            layers.append(SqueezeExcite(c_mid, max(8, c_mid // 8)))
        layers.append(conv_bn(c_mid, c_out, 1, act=None))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.skip else y


def stage(
    c_in: int,
    c_out: int,
    first_expansion: int,
    expansion: int,
    act: type[nn.Module],
    squeeze: bool,
) -> nn.Sequential:
    """Three blocks, the first of which halves H and W."""
    first = InvertedResidual(c_in, c_in * first_expansion, c_out, 2, act, squeeze)
    rest = [InvertedResidual(c_out, c_out * expansion, c_out, 1, act, squeeze) for _ in range(2)]
    return nn.Sequential(first, *rest)


def with_coordinates(x: Tensor) -> Tensor:
    """Append two channels, x and y in [-1, 1]: (B, C, H, W) -> (B, C+2, H, W). CoordConv."""
    h, w = x.shape[-2:]
    ys = torch.linspace(-1, 1, h, dtype=x.dtype, device=x.device).view(1, 1, h, 1)
    xs = torch.linspace(-1, 1, w, dtype=x.dtype, device=x.device).view(1, 1, 1, w)
    shape = (x.shape[0], 1, h, w)
    return torch.cat([x, xs.expand(shape), ys.expand(shape)], 1)


class Placed(nn.Sequential):
    """Layers that also see the coordinates of each cell."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(with_coordinates(x))  # type: ignore[no-any-return, no-untyped-call]


def coord_conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1) -> Placed:
    """`conv_bn` that also sees the coordinates: CoordConv."""
    return Placed(*conv_bn(c_in + 2, c_out, kernel, stride))


class Downsample(nn.Module):
    """3x3 convolution of stride 2, by default a CoordConv."""

    def __init__(self, c_in: int, c_out: int, coordinates: bool = True) -> None:
        super().__init__()
        conv = coord_conv_bn if coordinates else conv_bn
        self.conv: nn.Module = conv(c_in, c_out, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class Multiview(nn.Module):
    """Three 3x3 convolutions in a chain, their outputs side by side, a residual around all.

    The three outputs see 3x3, 5x5 and 7x7 neighbourhoods of the same map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.conv3 = conv_bn(channels, half, 3)
        self.conv5 = conv_bn(half, quarter, 3)
        self.conv7 = conv_bn(quarter, quarter, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv3(x)
        b = self.conv5(a)
        c = self.conv7(b)
        return x + torch.cat([a, b, c], 1)


# --- The four parts ----------------------------------------------------------------------


def low_level_features(cfg: NetConfig) -> tuple[nn.Sequential, nn.Sequential]:
    """Stem and first stage: (B, 3, 112, 112) -> (B, C, 28, 28)."""
    stem = conv_bn(3, cfg.stem, 3, stride=2)
    channels, expansion = cfg.channels[0], cfg.expansion[0]
    return stem, stage(cfg.stem, channels, 1, expansion, nn.ReLU, squeeze=False)


class Backbone(nn.Module):
    """MobileNet-V3 blocks: (B, 3, 112, 112) -> features at 28x28, 14x14 and 7x7."""

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


def conv_bn_global(channels: int, size: int) -> nn.Sequential:
    """Depthwise convolution as large as the map: (B, C, size, size) -> (B, C, 1, 1)."""
    conv = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


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


class ATPN(nn.Module):
    """Crop in; landmarks, pose and face confidence out.

    Input: RGB crops (B, 3, 112, 112) in 0..255, any float type; normalised inside.
    ``mean_shape`` (points, 2) in units of the crop's side is S0 of section 3.2.
    """

    def __init__(self, cfg: NetConfig | None = None, mean_shape: Tensor | None = None) -> None:
        super().__init__()
        self.cfg = cfg = cfg or NetConfig()
        variant = cfg.variant
        self.backbone = Backbone(cfg)
        self.alignment = AlignmentBranch(cfg) if variant.low_level else LastLayerBranch(cfg)
        self.pose = Head(cfg, 3)
        self.tracking = Head(cfg, 2)
        own = [None if variant.sharing else nn.Sequential(*low_level_features(cfg)) for _ in "pt"]
        self.pose_features, self.tracking_features = own
        shape = torch.full((cfg.points, 2), 0.5) if mean_shape is None else mean_shape
        self.register_buffer("mean_shape", shape.float())
        self.mean_shape: Tensor

    def align(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks S1 = S0 + residual (B, points, 2) and F_I (B, C, 28, 28)."""
        f1, f2, f3 = self.backbone(normalised(images))
        return self.mean_shape + self.alignment(f1, f2, f3), f1

    def fuse(self, images: Tensor, landmarks: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """F_O = F_I * H (section 3.3) as the pose and as the tracking branch see it.

        One tensor twice where they share the alignment's features (B, C, 28, 28).
        """
        variant, size = self.cfg.variant, self.cfg.input_size // 4
        heat = heatmap(landmarks, size) if variant.heatmap else None
        seen = [features]
        if self.pose_features is not None and self.tracking_features is not None:
            x = normalised(images)
            seen = [self.pose_features(x), self.tracking_features(x)]
        fused = seen if heat is None else [f * heat for f in seen]
        return fused[0], fused[-1]

    def euler(self, fused: Tensor) -> Tensor:
        """Yaw, pitch, roll in radians, each tanh * pi: (B, 3)."""
        return torch.tanh(self.pose(fused)) * pi

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        landmarks, features = self.align(images)
        for_pose, for_tracking = self.fuse(images, landmarks, features)
        confidence = self.tracking(for_tracking).softmax(1)[:, 1]
        return landmarks, self.euler(for_pose), confidence  # (B, P, 2), (B, 3), (B,)


def normalised(images: Tensor) -> Tensor:
    """0..255 to about -2..2."""
    return (images - 127.5) * (1 / 64.0)


# --- What it costs -----------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-adds of one part, for one face."""

    parameters: int
    multiply_adds: int


def cost(net: ATPN) -> dict[str, Cost]:
    """Cost of the paper's parts, counted on a real forward pass (convolutions and linear)."""
    counted: dict[str, int] = {}

    def count(part: str, module: nn.Module, _inputs: object, out: Tensor) -> None:
        if isinstance(module, nn.ConvTranspose2d):
            k = module.kernel_size
            macs = module.in_channels * out.shape[1] * out.shape[2] * out.shape[3]
            macs = macs * k[0] * k[1] // (module.stride[0] * module.stride[1])
        elif isinstance(module, nn.Conv2d):
            macs = out[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs = module.weight.numel()
        else:
            return
        counted[part] = counted.get(part, 0) + macs

    hooks = [
        m.register_forward_hook(partial(count, name.partition(".")[0]))
        for name, m in net.named_modules()
    ]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, net.cfg.input_size, net.cfg.input_size))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()

    def part(*names: str) -> Cost:
        modules = [m for m in (getattr(net, n) for n in names) if m is not None]
        parameters = sum(p.numel() for m in modules for p in m.parameters())
        return Cost(parameters, sum(counted.get(n, 0) for n in names))

    return {
        "backbone + alignment": part("backbone", "alignment"),
        "tracking branch": part("tracking", "tracking_features"),
        "pose branch": part("pose", "pose_features"),
    }

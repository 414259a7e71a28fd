"""The building blocks: MobileNet-V3 blocks, CoordConv, the multiview block.

Shapes are written (B, C, H, W).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


def conv_bn_global(channels: int, size: int) -> nn.Sequential:
    """Depthwise convolution as large as the map: (B, C, size, size) -> (B, C, 1, 1)."""
    conv = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))

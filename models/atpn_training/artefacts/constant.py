"""The network with nothing in its graph that depends on shapes: as it is exported."""

from copy import deepcopy
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from atpn_training.network.atpn import ATPN
from atpn_training.network.blocks import Placed, SqueezeExcite, with_coordinates
from atpn_training.network.parts import AlignmentBranch


class PlacedConv(nn.Module):
    """A CoordConv with batch norm and ReLU for maps of one known size.

    The coordinates are constant, so their share of the convolution is a constant map that is
    added; nothing is concatenated at run time.
    """

    def __init__(self, layers: Placed, size: int) -> None:
        super().__init__()
        fused = fuse_conv_bn_eval(cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1]))
        kernel, stride = fused.kernel_size[0], fused.stride[0]
        features = fused.in_channels - 2
        self.conv = nn.Conv2d(features, fused.out_channels, kernel, stride, kernel // 2)
        self.conv.weight = nn.Parameter(fused.weight[:, :features])
        self.conv.bias = fused.bias
        grid = with_coordinates(torch.zeros(1, 0, size, size))
        place = F.conv2d(grid, fused.weight[:, features:], None, stride, kernel // 2)
        self.register_buffer("place", place.detach())
        self.place: Tensor  # (1, C_out, H, W)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, size, size) without coordinates to (B, C_out, H, W)."""
        return F.relu(self.conv(x) + self.place)


def placed(layers: nn.Module, size: int) -> nn.Module:
    """The layers for (B, C, size, size) maps, with constant coordinates if they see any."""
    return PlacedConv(layers, size) if isinstance(layers, Placed) else layers


#: Channels that ONNX Runtime computes at a time with AVX-512; with AVX2 it is half as many.
BLOCK = 16


class WideSqueezeExcite(nn.Module):
    """`SqueezeExcite` for maps of one known size, in blocks of channels.

    ONNX Runtime keeps maps in blocks of channels on CPUs, and reorders them for what it cannot do
    there: a product of a map with one value a channel, hidden channels that fill no block. So the
    values are repeated over the map, and the hidden channels filled up with zeros.
    """

    def __init__(self, layers: SqueezeExcite, size: int) -> None:
        super().__init__()
        reduce, expand = layers.reduce, layers.expand
        none = -reduce.out_channels % BLOCK
        self.reduce = nn.Conv2d(reduce.in_channels, reduce.out_channels + none, 1)
        self.expand = nn.Conv2d(reduce.out_channels + none, expand.out_channels, 1)
        self.reduce.weight = nn.Parameter(F.pad(reduce.weight, (0, 0, 0, 0, 0, 0, 0, none)))
        self.reduce.bias = nn.Parameter(F.pad(cast(Tensor, reduce.bias), (0, none)))
        self.expand.weight = nn.Parameter(F.pad(expand.weight, (0, 0, 0, 0, 0, none)))
        self.expand.bias = expand.bias
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, size, size) to the same."""
        s = F.adaptive_avg_pool2d(x, 1)
        s = F.hardsigmoid(self.expand(F.relu(self.reduce(s))))
        return x * F.interpolate(s, scale_factor=float(self.size), mode="nearest")


def widen(net: ATPN) -> None:
    """Put a `WideSqueezeExcite` in the place of each `SqueezeExcite`."""
    sizes: dict[str, int] = {}

    def note(name: str, _module: nn.Module, seen: tuple[Tensor, ...]) -> None:
        sizes[name] = seen[0].shape[-1]

    found = {n: m for n, m in net.named_modules() if isinstance(m, SqueezeExcite)}
    hooks = [m.register_forward_pre_hook(partial(note, n)) for n, m in found.items()]
    with torch.no_grad():
        net(torch.zeros(1, 3, net.cfg.input_size, net.cfg.input_size))
    for hook in hooks:
        hook.remove()
    for name, layers in found.items():
        parent, _, own = name.rpartition(".")
        setattr(net.get_submodule(parent), own, WideSqueezeExcite(layers, sizes[name]))


class Served(nn.Module):
    """`ATPN` as it is served: (B, 112, 112, 3) uint8 RGB in, with constant coordinates.

    The same mathematics as `ATPN.forward`, written so that nothing in the graph depends on
    shapes; `check` compares the two.
    """

    def __init__(self, net: ATPN) -> None:
        super().__init__()
        self.net = deepcopy(net).eval().requires_grad_(False)
        widen(self.net)
        branch, size = self.net.alignment, net.cfg.input_size // 4  # of F_I
        branch.mix = placed(branch.mix, size // 4)
        if isinstance(branch, AlignmentBranch):
            branch.down1.conv = placed(branch.down1.conv, size)
            branch.down2.conv = placed(branch.down2.conv, size // 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops to landmarks (B, points, 2), pose (B, 3) and confidence (B,)."""
        answer: tuple[Tensor, Tensor, Tensor] = self.net(image.permute(0, 3, 1, 2).float())
        return answer

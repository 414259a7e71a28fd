"""The network with nothing in its graph that depends on shapes: as it is exported."""

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from atpn_training.network.atpn import ATPN
from atpn_training.network.blocks import Placed, with_coordinates
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


class Served(nn.Module):
    """`ATPN` as it is served: (B, 112, 112, 3) uint8 RGB in, with constant coordinates.

    The same mathematics as `ATPN.forward`, written so that nothing in the graph depends on
    shapes; `check` compares the two.
    """

    def __init__(self, net: ATPN) -> None:
        super().__init__()
        self.net = deepcopy(net).eval().requires_grad_(False)
        branch, size = self.net.alignment, net.cfg.input_size // 4  # of F_I
        branch.mix = placed(branch.mix, size // 4)
        if isinstance(branch, AlignmentBranch):
            branch.down1.conv = placed(branch.down1.conv, size)
            branch.down2.conv = placed(branch.down2.conv, size // 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops to landmarks (B, points, 2), pose (B, 3) and confidence (B,)."""
        answer: tuple[Tensor, Tensor, Tensor] = self.net(image.permute(0, 3, 1, 2).float())
        return answer

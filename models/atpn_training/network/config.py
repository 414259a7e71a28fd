"""What fixes the architecture: sizes, and which of the paper's parts there are."""

from dataclasses import dataclass


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

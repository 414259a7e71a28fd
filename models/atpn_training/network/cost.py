"""What the network costs, beside the paper's limits: ``python -m atpn_training.network.cost``."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atpn_training.network.atpn import ATPN
from atpn_training.network.config import VARIANTS, NetConfig

#: The network's modules that make up each of the paper's parts.
PARTS = {
    "backbone + alignment": ("backbone", "alignment"),
    "tracking branch": ("tracking", "tracking_features"),
    "pose branch": ("pose", "pose_features"),
}


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-adds of one part, for one face."""

    parameters: int
    multiply_adds: int


def cost(net: ATPN) -> dict[str, Cost]:
    """Cost of the paper's parts, counted on a real forward pass (convolutions and linear)."""
    training, name = net.training, type(net).__name__
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, 3, net.cfg.input_size, net.cfg.input_size))
    net.train(training)
    flops = counter.get_flop_counts()
    return {
        part: Cost(
            sum(p.numel() for m in modules for p in _module(net, m).parameters()),
            sum(sum(flops.get(f"{name}.{m}", {}).values()) for m in modules) // 2,
        )
        for part, modules in PARTS.items()
    }


def _module(net: ATPN, name: str) -> nn.Module:
    """The network's part of that name; one without parameters where the variant has none."""
    return getattr(net, name) or nn.Identity()


#: Xia et al., section 4.2; the paper gives no figure for the pose branch.
PAPER = {
    "backbone + alignment": Cost(1_100_000, 60_000_000),
    "tracking branch": Cost(190_000, 17_000_000),
}


def table(costs: dict[str, Cost]) -> str:
    """A Markdown table of parameters and multiply-adds for one face."""
    lines = [
        "| part | parameters | paper | multiply-adds | paper |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, own in costs.items():
        paper = PAPER.get(name)
        cells = [
            _mega(own.parameters),
            _mega(paper.parameters) if paper else "not given",
            _mega(own.multiply_adds),
            _mega(paper.multiply_adds) if paper else "not given",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def variants_table() -> str:
    """A Markdown table of every variant: parameters and multiply-adds of each part."""
    parts = list(cost(ATPN()))
    lines = [
        f"| variant | {' | '.join(parts)} |",
        f"|---|{'---:|' * len(parts)}",
    ]
    for name, variant in VARIANTS.items():
        costs = cost(ATPN(NetConfig(variant=variant)))
        cells = [f"{_mega(c.parameters)} / {_mega(c.multiply_adds)}" for c in costs.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mega(count: int) -> str:
    return f"{count / 1e6:.2f} M"


if __name__ == "__main__":
    print(f"{table(cost(ATPN()))}\n\nThe ablation's variants, parameters / multiply-adds:\n")
    print(variants_table())

"""Prints what the network costs beside the paper's limits: ``python -m atpn_training.cost``."""

from atpn_training.net import ATPN, VARIANTS, Cost, NetConfig, cost

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

"""Trains every variant of the network at an equal budget and writes a table of their errors.

    python -m atpn_training.train.ablate --data DATA --out RUN --steps N

Goes on where it was stopped. Variants that differ in the heads alone start from the full
network's alignment: theirs would be the same. ``RUN/ablation.md`` is written anew after each.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

import cv2

from atpn_training.artefacts.files import replace_file
from atpn_training.network.atpn import ATPN
from atpn_training.network.config import VARIANTS
from atpn_training.network.cost import cost
from atpn_training.train.checkpoint import load_weights
from atpn_training.train.plan import PLANS, STAGES
from atpn_training.train.run import Material, Run, Sources
from atpn_training.train.validate import Report

#: Which stages tell a variant from its neighbours.
STAGES_OF = {
    "baseline": ("alignment",),
    "low-level": ("alignment",),
    "multiview": ("alignment",),
    "full": STAGES,
    "no-heatmap": ("tracking", "pose"),
    "no-sharing": ("tracking", "pose"),
}


@dataclass(frozen=True)
class Published:
    """The paper's figures of a variant (tables 4, 8 and 9); empty where it gives none."""

    nme: str = ""  # WFLW test, %
    pose: str = ""  # 300W-LP test, common / challenging, degrees
    ap: str = ""  # WIDER FACE, %


PAPER = {
    "baseline": Published(nme="5.61"),
    "low-level": Published(nme="5.40"),
    "multiview": Published(nme="5.33"),
    "full": Published("5.13", "1.55 / 2.84", "98.82"),
    "no-heatmap": Published(pose="1.71 / 3.17", ap="98.72"),
    "no-sharing": Published(pose="1.68 / 3.12", ap="98.57"),
}
TITLES = {
    "baseline": "baseline: regressed from the last layer",
    "low-level": "+ low-level features",
    "multiview": "+ multiview",
    "full": "+ CoordConv: the full network",
    "no-heatmap": "full, without heatmap",
    "no-sharing": "full, without feature sharing",
}


@dataclass(frozen=True)
class Budget:
    """Steps of each stage and crops of each step; None: the plan's batch."""

    steps: int
    head_steps: int
    batch: int | None = None


def train_variant(name: str, run: Run, full: Run, budget: Budget) -> ATPN:
    """The trained variant; ``full`` is the full network's run, whose alignment heads start from."""
    net = run.new_net(name)
    stages = STAGES_OF[name]
    if "alignment" not in stages:
        state = load_weights(full.finished("alignment"))
        net.load_state_dict({**net.state_dict(), **state})
    for stage in stages:
        steps = budget.steps if stage == "alignment" else budget.head_steps
        plan = PLANS[stage]
        warmup = min(plan.warmup, max(1, steps // 10))
        batch = budget.batch or plan.batch
        run.train(net, stage, replace(plan, steps=steps, batch=batch, warmup=warmup))
    return net.eval()


def score(net: ATPN, name: str, material: Material) -> Report:
    """The validation's figures of the stages in which the variant differs."""
    found = [vars(material.validations[stage](net)) for stage in STAGES_OF[name]]
    known = {k: v for figures in found for k, v in figures.items() if not isnan(v)}
    return Report(**known)


def tables(reports: dict[str, Report], costs: dict[str, str], budget: Budget) -> str:
    """Markdown: alignment and heads, each beside the paper's figures."""
    alignment = "\n".join(
        f"| {TITLES[name]} | {costs[name]} | {r.nme_teacher:.2f} | {r.nme_lfpw:.2f} "
        f"| {PAPER[name].nme} |"
        for name, r in reports.items()
        if "alignment" in STAGES_OF[name]
    )
    heads = "\n".join(
        f"| {TITLES[name]} | {r.pose_mae:.2f} | {PAPER[name].pose} | {r.ap:.2%} "
        f"| {PAPER[name].ap} |".replace("% ", " ")
        for name, r in reports.items()
        if "pose" in STAGES_OF[name]
    )
    return (
        f"Ours: validation split, {budget.steps} steps of alignment and {budget.head_steps} of "
        "each head. The paper's: WFLW test, 300W-LP test (common / challenging), WIDER FACE.\n\n"
        "| alignment | parameters, multiply-adds | NME %, teacher | NME %, LFPW hand "
        "| paper's NME % |\n|---|---:|---:|---:|---:|\n"
        f"{alignment}\n\n"
        "| heads | pose MAE ° | paper's ° | AP % | paper's % |\n|---|---:|---:|---:|---:|\n"
        f"{heads}\n"
    )


def ablate(runs: dict[str, Run], out: Path, budget: Budget) -> str:
    """Train and score all variants, a run each; the table, which ``out`` gets, too."""
    reports: dict[str, Report] = {}
    costs: dict[str, str] = {}
    text = ""
    for name, run in runs.items():
        print(f"{name}: {TITLES[name]}")
        net = train_variant(name, run, runs["full"], budget)
        reports[name] = score(net, name, run.material)
        own = cost(net)["backbone + alignment"]
        costs[name] = f"{own.parameters / 1e6:.2f} M, {own.multiply_adds / 1e6:.1f} M"
        text = tables(reports, costs, budget)
        replace_file(out / "ablation.md", text.encode())
    return text


def main() -> int:
    """Run the ablation and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of all the runs")
    parser.add_argument("--steps", type=int, required=True, help="of alignment, each variant")
    parser.add_argument("--head-steps", type=int, help="of each head; a quarter of --steps")
    parser.add_argument("--batch", type=int, help="instead of the plans'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=500, help="steps between checkpoints")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    budget = Budget(args.steps, args.head_steps or max(1, args.steps // 4), args.batch)
    material = Material.load(Sources(args.data))
    runs = {
        name: Run(args.out / name, material, args.seed, args.workers, args.every)
        for name in VARIANTS
    }
    print(ablate(runs, args.out, budget))
    return 0


if __name__ == "__main__":
    sys.exit(main())

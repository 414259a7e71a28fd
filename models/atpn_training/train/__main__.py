"""Trains ATPN in three stages: alignment, then tracking, then pose.

    python -m atpn_training.train --data DATA --out RUN [--stage all] [--variant full]

Every stage writes RUN/<stage>.pt as it goes and continues from it when started again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2

from atpn_training.network.config import VARIANTS
from atpn_training.train.checkpoint import load_weights
from atpn_training.train.plan import PLANS, STAGES, Plan
from atpn_training.train.run import Material, Run, Sources


def share(text: str) -> float:
    """A share from the command line, 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with faces.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and log")
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--variant", choices=VARIANTS, default="full", help="of the ablation")
    parser.add_argument("--steps", type=int, help="instead of the plan's")
    parser.add_argument("--batch", type=int, help="instead of the plan's")
    parser.add_argument("--rate", type=float, help="instead of the plan's")
    parser.add_argument("--init", type=Path, help="weights to start from (a .pt of net states)")
    parser.add_argument(
        "--settle",
        type=share,
        metavar="SHARE",
        help="of the steps after which batch norms keep their statistics (0: from the start)",
    )
    parser.add_argument(
        "--as-rotations", action="store_true", help="pose loss: the angle between both rotations"
    )
    parser.add_argument("--open-only", action="store_true", help="openly licensed faces only")
    parser.add_argument(
        "--profiles",
        type=int,
        default=0,
        metavar="N",
        help="made for the pose stage (2000); with --open-only views, for all stages (6000)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=500, help="steps between validations")
    return parser.parse_args(arguments)


def main() -> None:
    """Run the stages that were asked for, one after the other."""
    args = parse()
    cv2.setNumThreads(1)
    turned = args.profiles if args.open_only or args.stage in ("pose", "all") else 0
    sources = Sources(args.data, args.open_only, turned)
    material = Material.load(sources)
    run = Run(args.out, material, args.seed, args.workers, args.every)
    net = run.new_net(args.variant)
    if args.init is not None:
        net.load_state_dict(load_weights(args.init))
    for stage in STAGES if args.stage == "all" else [args.stage]:
        before = run.before(stage)
        if before is not None:
            net.load_state_dict(load_weights(before))
        run.train(net, stage, adapted(PLANS[stage], args))


def adapted(plan: Plan, args: argparse.Namespace) -> Plan:
    """The plan with what the command line gives in the place of its own."""
    return replace(
        plan,
        steps=args.steps or plan.steps,
        batch=args.batch or plan.batch,
        rate=args.rate or plan.rate,
        settle=plan.settle if args.settle is None else args.settle,
        as_rotations=args.as_rotations,
    )


if __name__ == "__main__":
    main()

"""The paper's experiments on the real test sets, one command a table.

    python -m atpn_training.experiments wflw     --root WFLW --out OUT      # tables 1 and 3
    python -m atpn_training.experiments ablation --root WFLW --run RUN --out OUT   # table 4
    python -m atpn_training.experiments 300vw    --root 300VW --out OUT     # tables 6 and 7
    python -m atpn_training.experiments pose     --root DIR --out OUT       # table 8
    python -m atpn_training.experiments wider    --root WIDER --out OUT     # table 9

They score the ONNX file that is served, through the crop, the detector and the tracking that
serve it, and write a Markdown table beside the paper's figures, JSON, and curves.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2

from atpn_training.artefacts.files import ARTIFACTS, replace_file
from atpn_training.data.datasets import (
    DatasetError,
    read_300vw,
    read_wflw,
    read_wider,
)
from atpn_training.experiments.bench import Bench, Outcome
from atpn_training.experiments.pose import pose, posed_sets
from atpn_training.experiments.vw import vw
from atpn_training.experiments.wflw import ablation, wflw
from atpn_training.experiments.wider import wider
from atpn_training.score.served import Model, shipped_detector


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    commands = parser.add_subparsers(dest="experiment", required=True)
    for name, titles in {
        "wflw": "tables 1 and 3: landmarks on WFLW",
        "ablation": "table 4: the variants of an ablation run, on WFLW",
        "300vw": "tables 6 and 7: tracking on 300VW",
        "pose": "table 8: head pose on 300W-LP and AFLW2000-3D",
        "wider": "table 9: face confidence on WIDER FACE",
    }.items():
        command = commands.add_parser(name, help=titles, description=titles)
        command.add_argument("--root", type=Path, required=True, help="folder of the data set")
        command.add_argument("--out", type=Path, required=True, help="folder for the results")
        command.add_argument("--model", type=Path, default=ARTIFACTS / "atpn" / "1")
        if name == "ablation":
            command.add_argument("--run", type=Path, required=True, help="ablate's --out")
        if name == "300vw":
            command.add_argument("--limit", type=int, help="frames of each video")
        if name == "pose":
            command.add_argument("--helen-test", type=Path, help="names of HELEN's test pictures")
    return parser.parse_args(arguments)


def perform(args: argparse.Namespace) -> Outcome:
    """Read the data set and run the experiment that was asked for."""
    root: Path = args.root
    bench = Bench(Model.load(args.model), shipped_detector(), args.out)
    experiments: dict[str, Callable[[], Outcome]] = {
        "wflw": lambda: wflw(bench, read_wflw(root)),
        "ablation": lambda: ablation(bench, read_wflw(root), args.run),
        "300vw": lambda: vw(bench, list(read_300vw(root)), args.limit),
        "pose": lambda: pose(bench, posed_sets(root, args.helen_test)),
        "wider": lambda: wider(bench, read_wider(root)),
    }
    return experiments[args.experiment]()


def main() -> int:
    """Run one experiment, print its table and write it; 1 if the data set is damaged."""
    args = parse()
    cv2.setNumThreads(1)  # small images: handing them to threads costs more than it gains
    try:
        outcome = perform(args)
    except (DatasetError, ValueError) as error:
        print(f"{args.experiment}: {error}", file=sys.stderr)
        return 1
    text = json.dumps(outcome.figures, indent=2, ensure_ascii=False)
    replace_file(args.out / f"{args.experiment}.json", f"{text}\n".encode())
    replace_file(args.out / f"{args.experiment}.md", f"{outcome.text}\n".encode())
    print(outcome.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

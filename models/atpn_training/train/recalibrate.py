"""Multiplies an angle that finished weights answer, where its labels were stretched too far.

python -m atpn_training.train.recalibrate --weights FILE --out FILE --pitch 0.8
"""

import argparse
from pathlib import Path

import torch

from atpn_training.network.atpn import ATPN
from atpn_training.train.checkpoint import load_net, save_weights

PITCH = 1  # the place of the angle in the network's answer


def with_pitch(net: ATPN, factor: float) -> ATPN:
    """The network itself, its last layer of the pose branch changed.

    The answer is tanh times pi, so nearly linear: 45 degrees by 0.8 become 36.3.
    """
    with torch.no_grad():
        net.pose.regress.weight[PITCH] *= factor
        net.pose.regress.bias[PITCH] *= factor
    return net


def main() -> None:
    """Read, change, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pitch", type=float, required=True, help="factor")
    args = parser.parse_args()
    save_weights(with_pitch(load_net(args.weights), args.pitch), args.out)


if __name__ == "__main__":
    main()

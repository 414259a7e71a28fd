"""What signals cost a frame: the steps of a stream's frame without pixels and network, on the CPU.

``python -m loadtests.signals [--frames 2000] [--repeats 15]``
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from atpn.engine.inference import Prediction
from atpn.faces.face import Face, faces_of
from atpn.faces.frame import follow_frame, observed
from atpn.faces.looking import drive
from atpn.faces.tracking import Rules, State
from atpn.geometry import Box, square
from loadtests.measure import in_turn, spread

WIDTH, HEIGHT, FPS = 640, 480, 25
DOWN = np.linspace(1 / 6, 5 / 6, 98, dtype=np.float32)
ACROSS = np.where(np.arange(98) % 2, DOWN[0], DOWN[-1])
SEEN = Prediction(np.stack([ACROSS, DOWN], 1), np.zeros(3, np.float32), 0.9)  # in every region


def frame_us(frames: int, signals: bool) -> float:
    """Microseconds of CPU for a frame with one face, which is followed."""
    state, rules = State(), Rules(max_faces=1)
    began = time.process_time()
    for number in range(1, frames + 1):
        steps = follow_frame(replace(state, seq=number), WIDTH, HEIGHT, rules)
        followed = drive(steps, see, search)
        state = (observed(followed, number / FPS) if signals else followed).state
    return 1e6 * (time.process_time() - began) / frames


def see(rois: list[Box]) -> list[Face]:
    """The same face in every region."""
    return faces_of(rois, [SEEN] * len(rois))


def search(_: object) -> list[Box]:
    """A face in the middle."""
    return [square(WIDTH / 2, HEIGHT / 2, 200)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turn, and print medians with their quartiles."""
    parser = argparse.ArgumentParser(description="A frame's CPU time, without and with signals.")
    parser.add_argument("--frames", type=int, default=2000, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=15, help="of the pair, at least")
    args = parser.parse_args(arguments)
    rounds = in_turn(
        args.repeats,
        lambda: frame_us(args.frames, signals=False),
        lambda: frame_us(args.frames, signals=True),
        lambda without, told: told / without,
    )
    for name, side in zip(
        ("without signals", "with signals"), zip(*rounds, strict=True), strict=True
    ):
        values = spread(list(side))
        print(f"{name}: {values['median']:.0f} us ({values['q1']:.0f}-{values['q3']:.0f})")


if __name__ == "__main__":
    main()

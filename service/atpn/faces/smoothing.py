"""Smoothing of a face's landmarks over time: the One-Euro filter (Casiez et al., CHI 2012).

Still faces stop trembling, fast ones are hardly delayed: the cut-off frequency rises with speed.
"""

import math
from collections.abc import Hashable, Iterable

import numpy as np

from atpn.landmarks import Array

MIN_CUTOFF = 1.5  # Hz, of a face at rest
BETA = 8.0  # Hz more for each face width a second
SPEED_CUTOFF = 1.0  # Hz, of the speed itself
LONGEST_GAP_S = 0.5  # after a longer one the filter starts afresh


def _share(cutoff: Array | float, gap_s: float) -> Array | float:
    """How much of a new value is taken, at a cut-off frequency (Hz)."""
    ratio = 2 * math.pi * cutoff * gap_s
    return ratio / (ratio + 1)


class OneEuro:
    """The filter of one face's (N, 2) landmarks; ``size`` makes it independent of scale."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._value: Array | None = None
        self._speed: Array | None = None

    def __call__(self, points: Array, size: float, at_s: float) -> Array:
        """The smoothed landmarks (N, 2) at time ``at_s``; ``size`` is the face's in pixels."""
        gap_s = at_s - self._at
        if self._value is None or self._speed is None or not 0 < gap_s <= LONGEST_GAP_S:
            self._at, self._value, self._speed = at_s, points, np.zeros_like(points)
            return points
        speed = (points - self._value) / gap_s / max(size, 1.0)
        self._speed = self._speed + _share(SPEED_CUTOFF, gap_s) * (speed - self._speed)
        pace = np.linalg.norm(self._speed, axis=1, keepdims=True).astype(np.float32)
        share = _share(MIN_CUTOFF + BETA * pace, gap_s)
        self._value = (self._value + share * (points - self._value)).astype(np.float32)
        self._at = at_s
        return self._value


class Smoother:
    """The filters of all faces in view; of those that are gone nothing is kept."""

    def __init__(self) -> None:
        self._filters: dict[Hashable, OneEuro] = {}  # of the faces in the last frame, by its size

    def __call__(
        self,
        faces: Iterable[tuple[Hashable, Array, float]],
        at_s: float,
        frame: tuple[int, int],
    ) -> list[Array]:
        """The smoothed landmarks of one frame's faces: (who it is, (N, 2) landmarks, size).

        ``frame`` is its width and height: pixels of another size are no way that faces went.
        """
        known, self._filters = self._filters, {}
        smoothed = []
        for key, points, size in faces:
            one = self._filters[key, frame] = known.get((key, frame)) or OneEuro()
            smoothed.append(one(points, size, at_s))
        return smoothed

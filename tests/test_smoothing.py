"""The One-Euro filter: still faces stop trembling, moving ones are followed."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atpn.faces.smoothing import LONGEST_GAP_S, OneEuro, Smoother

Points = NDArray[Any]
RNG = np.random.default_rng(5)
SHAPE = RNG.uniform(0, 100, (98, 2)).astype(np.float32)
SIZE = 640, 480  # of frames


def filtered(frames: list[Points], size: float = 100, gap_s: float = 1 / 30) -> Points:
    smooth = OneEuro()
    return np.stack([smooth(f.astype(np.float32), size, i * gap_s) for i, f in enumerate(frames)])


def test_a_still_face_that_trembles_trembles_less() -> None:
    frames = [SHAPE + RNG.normal(0, 0.3, SHAPE.shape) for _ in range(60)]
    smooth = filtered(frames)[30:]
    assert smooth.std(0).mean() < 0.5 * np.stack(frames)[30:].std(0).mean()


def test_a_moving_face_is_followed_closely() -> None:
    """At one face width a second the points lag less than two frames behind."""
    frames = [SHAPE + np.array([i * 100 / 30, 0]) for i in range(60)]
    lag = (np.stack(frames) - filtered(frames))[-1, :, 0].mean()
    assert 0 < lag < 2 * 100 / 30


def test_near_and_far_faces_are_smoothed_alike() -> None:
    frames = [SHAPE + RNG.normal(0, 0.3, SHAPE.shape) for _ in range(20)]
    near = filtered([f * 4 for f in frames], size=400)
    np.testing.assert_allclose(near / 4, filtered(frames), rtol=1e-3, atol=1e-2)


def test_a_stream_of_another_resolution_begins_anew() -> None:
    smooth = Smoother()
    smooth([(1, SHAPE, 100)], 0.0, SIZE)
    half = (SHAPE / 2).astype(np.float32)
    [smoothed] = smooth([(1, half, 50)], 1 / 30, (320, 240))
    np.testing.assert_allclose(smoothed, half)


@pytest.mark.parametrize("gap_s", [LONGEST_GAP_S * 1.01, 0.0, -1.0])
def test_after_a_long_gap_or_a_clock_that_went_back_it_starts_afresh(gap_s: float) -> None:
    smooth = OneEuro()
    smooth(SHAPE, 100, 10.0)
    np.testing.assert_array_equal(smooth(SHAPE + 50, 100, 10.0 + gap_s), SHAPE + 50)


def test_a_face_that_was_gone_starts_afresh_and_the_others_go_on() -> None:
    smoother, alone = Smoother(), OneEuro()
    smoother([("a", SHAPE, 100), ("b", SHAPE, 100)], 0.0, SIZE)
    smoother([("b", SHAPE + 5, 100)], 0.03, SIZE)
    back, stayed = smoother([("a", SHAPE + 9, 100), ("b", SHAPE + 9, 100)], 0.06, SIZE)
    np.testing.assert_array_equal(back, SHAPE + 9)
    expected = [alone(SHAPE + d, 100, t) for d, t in ((0, 0.0), (5, 0.03), (9, 0.06))][-1]
    np.testing.assert_array_equal(stayed, expected)
    assert np.abs(stayed - back).mean() > 0.1

"""A series that grows is told from one that is noisy, that warms up, or that grows a little."""

import numpy as np
import pytest
from loadtests.slopes import FEWEST, WARM_UP, Allowed, judged, reached

ALLOWED = Allowed(5.0, share=0.03)
ROUNDS = 40
FLAT = np.full(ROUNDS, 150.0)
TIME = np.arange(ROUNDS)


def noise(seed: int, scale: float = 2.0) -> np.ndarray:
    """MiB by which samples differ for no reason."""
    return np.random.default_rng(seed).normal(0, scale, ROUNDS)


@pytest.mark.parametrize("leak", [0.25, 1.0, 20.0])
def test_a_leak_is_found_under_noise(leak: float) -> None:
    for seed in range(20):
        verdict = judged([*(FLAT + leak * TIME + noise(seed, 1.0))], ALLOWED)
        assert verdict.grows
        assert verdict.rise == pytest.approx(leak * 29, rel=0.4)
        assert verdict.last > verdict.first


def test_noise_alone_is_no_growth() -> None:
    assert not any(judged([*(FLAT + noise(seed))], ALLOWED).grows for seed in range(300))


def test_what_grows_while_it_warms_up_is_no_growth() -> None:
    warm = FLAT + 30 * np.minimum(1, TIME / (WARM_UP * ROUNDS)) + noise(1, 0.5)
    assert not judged([*warm], ALLOWED).grows


def test_a_trend_that_is_sure_and_small_is_no_growth() -> None:
    verdict = judged([*(FLAT + 0.05 * TIME)], ALLOWED)
    assert verdict.p < 1e-6
    assert not verdict.grows


@pytest.mark.parametrize("at", [12, 25, ROUNDS - 1])
def test_one_outlier_is_no_growth(at: int) -> None:
    series = FLAT + noise(2, 0.5)
    series[at] += 500
    assert not judged([*series], ALLOWED).grows


def test_what_shrinks_does_not_grow() -> None:
    assert not judged([*(FLAT - TIME)], ALLOWED).grows


def test_a_late_step_of_descriptors_is_growth() -> None:
    series = np.where(TIME < 25, 20, 27)
    assert judged([*series], Allowed(2)).grows


def two_levels(seed: int) -> np.ndarray:
    """MiB that an allocator has given back or keeps: at times, and always towards the end."""
    kept = (np.random.default_rng(seed).random(ROUNDS) < 0.3) | (TIME > 25)
    kept[5] = True
    return np.where(kept, 22.0, 0.0)


def test_a_level_that_was_reached_before_is_no_growth() -> None:
    series = [FLAT + two_levels(seed) + noise(seed, 0.5) for seed in range(20)]
    assert any(judged([*one], ALLOWED).grows for one in series)
    assert not any(judged(reached([*one]), ALLOWED).grows for one in series)


def test_a_leak_is_found_under_levels() -> None:
    for seed in range(20):
        leaking = FLAT + 0.5 * TIME + two_levels(seed) + noise(seed, 0.5)
        assert judged(reached([*leaking]), ALLOWED).grows


def test_of_few_samples_nothing_is_said() -> None:
    few = [float(i) for i in range(FEWEST)]
    assert judged(few, Allowed(0)).p == 1
    assert not judged(few, Allowed(0)).grows

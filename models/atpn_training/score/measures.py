"""What the figures are: errors, failure rates, areas and curves, as pure functions of arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atpn.landmarks import (
    EXACT_68,
    LEFT_EYE_OUTER,
    LEFT_PUPIL,
    RIGHT_EYE_OUTER,
    RIGHT_PUPIL,
    to_68,
)
from atpn_training.data.images import Array

Values = NDArray[np.float64]
Figures = dict[str, Any]

INNER_68 = np.array([i for i, _ in EXACT_68 if i >= 17])  # mapped points without the contour
FAILURE = 0.1  # NME above which a face has failed (section 4.2)
POSE_FAILURE = 10.0  # degrees, mean of the angles
THRESHOLD = 0.7  # confidence at which a face is tracked on (section 3.4)


def rounded(value: float | np.floating[Any]) -> float:
    """Four digits after the point, as a plain number."""
    return round(float(value), 4)


# --- Landmarks ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Errors:
    """Mean point-to-point distance of each face (N,), divided by one of two distances."""

    interocular: Values  # by the outer eye corners'
    interpupil: Values  # by the eye centres'

    def __len__(self) -> int:
        return len(self.interocular)

    def where(self, keep: NDArray[np.bool_]) -> "Errors":
        """The faces of the mask."""
        return Errors(self.interocular[keep], self.interpupil[keep])


def errors_98(found: Array, target: Array) -> Errors:
    """Errors of (N, 98, 2) points."""
    distance = np.linalg.norm(found - target, axis=-1).mean(-1).astype(np.float64)
    return Errors(
        distance / _between(target[:, LEFT_EYE_OUTER], target[:, RIGHT_EYE_OUTER]),
        distance / _between(target[:, LEFT_PUPIL], target[:, RIGHT_PUPIL]),
    )


def errors_68(found: Array, target: Array, points: NDArray[np.intp] | None = None) -> Errors:
    """Errors of (N, 98, 2) points against (N, 68, 2) labels, over all or some of the 68."""
    chosen = np.arange(68) if points is None else points
    own = to_68(found)[:, chosen]
    distance = np.linalg.norm(own - target[:, chosen], axis=-1).mean(-1).astype(np.float64)
    return Errors(
        distance / _between(target[:, 36], target[:, 45]),
        distance / _between(target[:, 36:42].mean(1), target[:, 42:48].mean(1)),
    )


def errors_inner(found: Array, target: Array) -> Errors:
    """Errors over the points 17-67 that both schemes share: without contour and eyelids."""
    return errors_68(found, target, INNER_68)


def _between(a: Array, b: Array) -> Values:
    return np.asarray(np.linalg.norm(a - b, axis=-1), np.float64)


def alignment_figures(errors: Errors) -> Figures:
    """Mean, median, failure rate and area under the error distribution of NMEs (N,)."""
    own = errors.interocular
    return {
        "faces": len(own),
        "nme_percent": rounded(100 * own.mean()),
        "median_percent": rounded(100 * np.median(own)),
        "fr_percent": rounded(100 * (own > FAILURE).mean()),
        "auc": rounded(np.clip(1 - own / FAILURE, 0, None).mean()),
        "interpupil_percent": rounded(100 * errors.interpupil.mean()),
    }


def cumulative(errors: Values, limit: float = FAILURE) -> tuple[Values, Values]:
    """The cumulative error distribution: thresholds up to ``limit`` and the share below each."""
    at = np.linspace(0, limit, 201)
    return at, np.searchsorted(np.sort(errors), at, side="right") / max(1, len(errors))


# --- Head pose ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Angles:
    """Angles that were found and that were wanted, (N, 2 or 3): yaw, pitch (, roll); radians."""

    found: Array
    target: Array

    def __len__(self) -> int:
        return len(self.found)

    def where(self, keep: NDArray[np.bool_]) -> "Angles":
        """The faces of the mask."""
        return Angles(self.found[keep], self.target[keep])


def pose_figures(angles: Angles) -> Figures:
    """Mean absolute error in degrees of each angle, of all, and the failure rate."""
    error = np.degrees(np.abs(angles.found - angles.target))
    by_angle = {
        f"{name}_deg": rounded(mean)
        for name, mean in zip(("yaw", "pitch", "roll"), error.mean(0), strict=False)
    }
    failed = error.mean(1) > POSE_FAILURE
    return {
        "faces": len(error),
        **by_angle,
        "mean_deg": rounded(error.mean()),
        "fr_percent": rounded(100 * failed.mean()),
    }


def pose_bins(found: Array, target: Array) -> list[Figures]:
    """One angle (N,) by the value that was wanted: its mean, quartiles and error in degrees."""
    own, wanted = np.degrees(found), np.degrees(target).round()
    bins = []
    for value in np.unique(wanted):
        here = own[wanted == value]
        low, middle, high = np.percentile(here, [25, 50, 75])
        bins.append(
            {
                "wanted_deg": rounded(value),
                "faces": len(here),
                "median_deg": rounded(middle),
                "quartiles_deg": [rounded(low), rounded(high)],
                "mae_deg": rounded(np.abs(here - value).mean()),
            }
        )
    return bins


# --- Face confidence ---------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """Face confidence of crops with a face (N,) and without (M,)."""

    faces: Array
    negatives: Array

    @property
    def ordered(self) -> tuple[Values, NDArray[np.bool_]]:
        """All scores, and which of them are faces'."""
        scores = np.concatenate([self.faces, self.negatives]).astype(np.float64)
        return scores, np.arange(len(scores)) < len(self.faces)


def confidence_figures(scores: Scores) -> Figures:
    """Average precision, and recall and false tracks at the threshold."""
    return {
        "faces": len(scores.faces),
        "negatives": len(scores.negatives),
        "ap_percent": rounded(100 * average_precision(*scores.ordered)),
        "recall_percent": rounded(100 * (scores.faces >= THRESHOLD).mean()),
        "false_positive_percent": rounded(100 * (scores.negatives >= THRESHOLD).mean()),
    }


def average_precision(scores: Values, positive: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve (mean precision at each positive)."""
    order = np.argsort(-scores, kind="stable")
    hits = positive[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def precision_recall(scores: Scores) -> tuple[Values, Values]:
    """The curve's recall and precision, one point a score, best score first."""
    values, positive = scores.ordered
    hits = positive[np.argsort(-values, kind="stable")]
    found = np.cumsum(hits)
    return found / max(1, hits.sum()), found / np.arange(1, len(hits) + 1)

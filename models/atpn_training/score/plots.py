"""Draws the figures' curves as PNG files, without a display."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from atpn_training.artefacts.files import replace_file
from atpn_training.score.following import Step
from atpn_training.score.measures import (
    FAILURE,
    THRESHOLD,
    Angles,
    Errors,
    Scores,
    average_precision,
    cumulative,
    pose_bins,
    precision_recall,
)

SIZE = (7.0, 4.5)  # inches, at 110 dots each
GREY = "#666666"
COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8a5a9e", "#c98b1f", "#555555", "#1b998b")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without dates or versions: the same curves are the same file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    replace_file(path, buffer.getvalue())


def canvas(x: str, y: str, title: str) -> tuple[Figure, Any]:
    """A figure with one pair of axes and a grid."""
    figure = Figure(SIZE, layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.set_title(title, loc="left", fontsize=11)
    frame(axes)
    return figure, axes


def frame(axes: Any) -> None:
    """A light grid and no box."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def plot_ced(path: Path, errors: Mapping[str, Errors], title: str) -> None:
    """Cumulative error distributions up to the failure threshold."""
    figure, axes = canvas("error (NME, % of the inter-ocular distance)", "faces below, %", title)
    for (name, own), colour in zip(errors.items(), _cycle(len(errors)), strict=True):
        at, share = cumulative(own.interocular)
        auc = np.clip(1 - own.interocular / FAILURE, 0, None).mean()
        axes.plot(100 * at, 100 * share, color=colour, lw=1.8, label=f"{name}: AUC {auc:.3f}")
    axes.set(xlim=(0, 100 * FAILURE), ylim=(0, 100))
    figure.legend(loc="outside lower center", fontsize=9, ncols=2, frameon=False)
    save(figure, path)


def plot_precision_recall(path: Path, scores: Mapping[str, Scores], title: str) -> None:
    """Precision against recall; the dot is the tracker's threshold."""
    figure, axes = canvas("recall, %", "precision, %", title)
    lowest = 100.0
    for (name, own), colour in zip(scores.items(), _cycle(len(scores)), strict=True):
        recall, precision = precision_recall(own)
        ap = average_precision(*own.ordered)
        label = f"{name}: AP {100 * ap:.2f} %"
        axes.plot(100 * recall, 100 * precision, color=colour, lw=1.8, label=label)
        chosen = int((own.ordered[0] >= THRESHOLD).sum()) - 1
        if chosen >= 0:
            x, y = 100 * recall[chosen], 100 * precision[chosen]
            axes.plot(x, y, "o", color=colour, ms=7)
            axes.annotate(
                f"confidence {THRESHOLD}: recall {x:.1f}, precision {y:.1f}",
                (x, y),
                xytext=(-14, -20),
                textcoords="offset points",
                ha="right",
                fontsize=9,
                color=colour,
            )
            lowest = min(lowest, x, y)
    lowest = max(0.0, min(90.0, lowest - 5))
    axes.set(xlim=(lowest, 100.2), ylim=(lowest, 100.2))
    axes.legend(loc="lower left", fontsize=9)
    save(figure, path)


def plot_pose_bins(path: Path, angles: Angles, title: str) -> None:
    """Yaw and pitch that were found by those that were asked for: median and quartiles."""
    figure = Figure((9.0, 4.5), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    for column, name in enumerate(("yaw (pan)", "pitch (tilt)")):
        axes = figure.add_subplot(1, 2, column + 1)
        bins = pose_bins(angles.found[:, column], angles.target[:, column])
        wanted = np.array([b["wanted_deg"] for b in bins])
        middle = np.array([b["median_deg"] for b in bins])
        spread = np.abs(np.array([b["quartiles_deg"] for b in bins]).T - middle)
        axes.plot(wanted, wanted, color=GREY, ls="--", lw=1, label="as asked for")
        axes.errorbar(
            wanted,
            middle,
            spread,
            fmt="o-",
            color=COLOURS[column],
            lw=1.5,
            capsize=3,
            label="found: median, quartiles",
        )
        axes.set(xlabel=f"{name} that was asked for, °", ylabel="found, °")
        axes.set(xticks=range(-90, 91, 30), yticks=range(-90, 91, 30))
        frame(axes)
        axes.legend(loc="upper left", fontsize=9)
    save(figure, path)


def plot_clip(path: Path, steps: list[Step], rate: float, title: str) -> None:
    """The first face's angles and confidence through a clip; ticks where it was lost."""
    figure = Figure((9.0, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.set_title(title, loc="left", fontsize=11)
    seconds = np.arange(len(steps)) / rate
    first = [next(iter(s.faces.values()), None) for s in steps]
    gap = np.full(3, np.nan, np.float32)
    poses = np.degrees([gap if f is None else f.pose for f in first])
    signs = ("yaw (+ image's left)", "pitch (+ up)", "roll (+ clockwise)")
    for column, name in enumerate(signs):
        upper.plot(seconds, poses[:, column], color=COLOURS[column], lw=1.5, label=name)
    confidence = [np.nan if f is None else f.confidence for f in first]
    lower.plot(seconds, confidence, color=COLOURS[3], lw=1.5, label="face confidence")
    lower.axhline(THRESHOLD, color=GREY, ls="--", lw=1, label=f"threshold {THRESHOLD}")
    gone = [t for t, s in zip(seconds, steps, strict=True) if s.given_up]
    for axes in (upper, lower):
        for number, t in enumerate(gone):
            label = "given up, detector asked" if number == 0 and axes is upper else None
            axes.axvline(t, color=COLOURS[1], alpha=0.35, lw=1, label=label)
        frame(axes)
    upper.set_ylabel("degrees")
    figure.legend(loc="outside lower center", fontsize=9, ncols=4, frameon=False)
    lower.set(xlabel="seconds", ylim=(0, 1.05), xlim=(0, seconds[-1] or 1))
    save(figure, path)


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]

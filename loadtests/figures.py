"""The pictures of long measurements, for the documentation: quiet, and small as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator, ScalarFormatter

INK, MUTED, BAND = "#24435c", "#b5651d", "#eeeeee"
STYLE: Any = {
    "svg.hashsalt": "atpn",  # the same figures give the same file
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "lines.linewidth": 1.3,
}
COLOURS, MARKS = (INK, "#6a9fc0", MUTED), "os^"
SLOWEST = "p99 of a round, ms"
#: Panel title -> its series, with what they are called where there are several.
PANELS: dict[str, dict[str, str]] = {
    "memory, MiB": {"memory_mib": ""},
    "open files": {"files": ""},
    "threads": {"threads": ""},
    SLOWEST: {"photos_p99_ms": "photographs", "frames_p99_ms": "frames"},
    "errors in a round": {"errors": ""},
}
#: Panels that show where a series lies, and the room around it.
AROUND = {"memory, MiB": 10, "open files": 2, "threads": 2}


def draw_soak(rows: Sequence[Mapping[str, Any]], warm_up: float, path: Path) -> None:
    """The samples of a soak over its minutes, one panel above the other.

    Grey is the warm-up, which is not judged; thin lines are rounds in which Redis was restarted.
    """
    minutes = [row["minute"] for row in rows]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(len(PANELS), sharex=True, figsize=(7.2, 6.6))
        for axis, (title, series) in zip(axes, PANELS.items(), strict=True):
            axis.set_title(title)
            axis.axvspan(0, minutes[min(round(warm_up * len(rows)), len(rows) - 1)], color=BAND)
            for row in rows:
                if row["redis_was_gone"]:
                    axis.axvline(row["minute"], color=MUTED, linewidth=0.5, alpha=0.6)
            for (name, label), colour in zip(series.items(), (INK, MUTED), strict=False):
                axis.plot(minutes, [row[name] for row in rows], color=colour, label=label)
            if len(series) > 1:
                axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 0.95), borderpad=0)
            room(axis, title)
        axes[-1].set_xlabel("minutes")
        saved(figure, path)


def room(axis: Any, title: str) -> None:
    """The range of an axis: around what is there, so that a slope shows, or from zero; of times, by
    their logarithm.
    """
    low, high = axis.get_ylim()
    if title == SLOWEST:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.set_ylim(10, max(1000, 1.5 * high))
        return
    margin = AROUND.get(title)
    if margin is None:
        axis.set_ylim(0, max(1, 1.15 * high))
    else:
        axis.set_ylim(low - margin, high + margin)
        axis.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def draw_overload(
    curves: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], promise: float, path: Path
) -> None:
    """Goodput and p99 over the offered load, both in capacities: a column a kind of load.

    ``curves`` are by load, then by server; each point has factor, of_capacity and p99_ms. The
    broad line is the best that there can be, the thin one what is promised.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(curves), sharex=True, sharey="row", figsize=(7.2, 5))
        for column, (what, servers) in zip(axes.T, curves.items(), strict=True):
            goodput, p99 = column
            goodput.set_title(f"{what}: answered in time ÷ capacity")
            p99.set_title("p99 of those, ms")
            goodput.plot([0.5, 1, 4], [0.5, 1, 1], color=BAND, linewidth=4, zorder=0)
            goodput.axhline(promise, color="#999999", linewidth=0.6)
            for (who, points), colour, mark in zip(servers.items(), COLOURS, MARKS, strict=True):
                line = {"color": colour, "marker": mark, "markersize": 3.5, "label": who}
                answered = [point for point in points if point["in_time_per_s"]]
                for axis, name, drawn in (
                    (goodput, "of_capacity", points),
                    (p99, "p99_ms", answered),
                ):
                    xs = [point["factor"] for point in drawn]
                    axis.plot(xs, [point[name] for point in drawn], **line)
            p99.set_xlabel("offered ÷ capacity")
        axes[0][0].set_ylim(0, max(1.15, axes[0][0].get_ylim()[1]))
        axes[1][0].set_ylim(0, None)
        axes[0][-1].legend(loc="lower right")
        saved(figure, path)


def saved(figure: Any, path: Path) -> None:
    """Write the picture and forget it."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)

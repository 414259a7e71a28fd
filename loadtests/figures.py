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


def saved(figure: Any, path: Path) -> None:
    """Write the picture and forget it."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)

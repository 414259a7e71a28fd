"""A picture of head pose and confidence over time."""

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from atpn.cli.output import ANGLES, Entry, Sink, check_writable
from atpn.extras import needs

COLOURS = ("#d1495b", "#00798c", "#edae49")  # of yaw, pitch and roll
MOST_FACES = 4  # with a diagram of their own: those seen longest
GAP = 2.5  # times the usual step: a longer one breaks the line


class Plot(Sink):
    """Yaw, pitch and roll of each face, and all confidences, over seconds; a PNG, PDF or SVG."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for an ending that is none of a picture, OSError for a path that cannot
        be written.
        """
        with needs("video"):
            import matplotlib.figure  # noqa: PLC0415
        self._figure: Any = matplotlib.figure.Figure  # without pyplot: needs no screen
        if path.suffix[1:].lower() not in self._figure().canvas.get_supported_filetypes():
            raise ValueError(f"a name that ends in .png, .pdf or .svg, not {path}")
        check_writable(path)
        self._path = path
        self._name = ""
        self._rows: dict[int, list[tuple[float, ...]]] = {}
        self._end = 0.0

    @override
    def add(self, entry: Entry) -> None:
        self._name = entry.name
        self._end = max(self._end, entry.time_s or 0.0)
        for face in entry.result.faces:
            pose = face.pose
            row = (entry.time_s or 0.0, pose.yaw, pose.pitch, pose.roll, face.confidence)
            self._rows.setdefault(face.track_id, []).append(row)

    @override
    def close(self) -> None:
        """A video without a face gives an empty diagram."""
        longest = sorted(self._rows, key=lambda key: -len(self._rows[key]))[:MOST_FACES]
        shown = {key: broken(np.array(self._rows[key])) for key in sorted(longest)}
        rows = len(shown) + 1
        figure = self._figure(figsize=(10, 1 + 2 * rows), layout="constrained")
        figure.suptitle(Path(self._name).name)
        *poses, confidence = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, values) in zip(poses, shown.items(), strict=True):
            for column, (angle, colour) in enumerate(zip(ANGLES, COLOURS, strict=True), 1):
                axes.plot(values[:, 0], values[:, column], color=colour, label=angle, lw=1.3)
            axes.set_ylabel(f"face {key}, degrees")
            axes.axhline(0, color="black", lw=0.5)
        for axes in poses[:1]:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
        for key, values in shown.items():
            confidence.plot(values[:, 0], values[:, 4], label=f"face {key}", lw=1.3)
        confidence.set(ylabel="confidence", xlabel="seconds", ylim=(0, 1.05))
        confidence.set_xlim(0, self._end or 1)
        if len(shown) > 1:
            confidence.legend(loc="lower right", ncols=len(shown), frameon=False)
        for axes in (*poses, confidence):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(self._path, dpi=120)


def broken(values: Any) -> Any:
    """(N, C) rows by time with a row of NaN in each gap, where a line is to break."""
    steps = np.diff(values[:, 0])
    if not len(steps):
        return values
    gaps = np.flatnonzero(steps > GAP * np.median(steps)) + 1
    return np.insert(values, gaps, np.nan, axis=0)

"""A picture of head pose, signals and confidence over time."""

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from atpn.cli.output import ANGLES, Entry, Sink, check_writable, writing
from atpn.client import Signals
from atpn.extras import needs

COLOURS = ("#d1495b", "#00798c", "#edae49")  # of three lines in one diagram
SEEN = ("left eye open", "right eye open", "mouth open")
SHADE = "#bbbbbb"  # behind a blink
MOST_FACES = 4  # with diagrams of their own: those seen longest
GAP = 2.5  # times the usual step: a longer one breaks the line


class Plot(Sink):
    """Yaw, pitch and roll of each face, with ``signals`` also its eyes, mouth and blinks, and all
    confidences, over seconds; a PNG, PDF or SVG.
    """

    def __init__(self, path: Path, signals: bool = False) -> None:
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
        self._signals = signals
        self._name = ""
        self._rows: dict[int, list[tuple[float, ...]]] = {}
        self._blinks: dict[int, set[tuple[float, float]]] = {}
        self._end = 0.0

    @override
    def add(self, entry: Entry) -> None:
        self._name = entry.name
        time_s = entry.time_s or 0.0
        self._end = max(self._end, time_s)
        for face in entry.result.faces:
            pose = face.pose
            row: tuple[float, ...] = (time_s, face.confidence, pose.yaw, pose.pitch, pose.roll)
            if self._signals:
                row += openings(face.signals)
                if (last := face.signals.blinks.last) is not None:
                    began = round(time_s - last.ago_s, 3)
                    self._blinks.setdefault(face.track_id, set()).add((began, last.length_s))
            self._rows.setdefault(face.track_id, []).append(row)

    @override
    def close(self) -> None:
        """A video without a face gives an empty diagram."""
        longest = sorted(self._rows, key=lambda key: -len(self._rows[key]))[:MOST_FACES]
        shown = {key: broken(np.array(self._rows[key])) for key in sorted(longest)}
        each = 2 if self._signals else 1
        rows = each * len(shown) + 1
        figure = self._figure(figsize=(10, 1 + 2 * rows), layout="constrained")
        name = Path(self._name).name.encode("utf-8", "backslashreplace").decode()
        figure.suptitle(name, parse_math=False)
        *faces, confidence = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        for place, (key, values) in enumerate(shown.items()):
            self._draw_face(faces[each * place : each * (place + 1)], key, values, place == 0)
            confidence.plot(values[:, 0], values[:, 1], label=f"face {key}", lw=1.3)
        confidence.set(ylabel="confidence", xlabel="seconds", ylim=(0, 1.05))
        confidence.set_xlim(0, self._end or 1)
        if len(shown) > 1:
            confidence.legend(loc="lower right", ncols=len(shown), frameon=False)
        for axes in (*faces, confidence):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        with writing(self._path):
            figure.savefig(self._path, dpi=120)

    def _draw_face(self, diagrams: Any, key: int, values: Any, first: bool) -> None:
        """One face: its angles, and with signals how open its eyes and mouth are."""
        units = ("degrees", "openness")
        for axes, unit, names, at in zip(diagrams, units, (ANGLES, SEEN), (2, 5), strict=False):
            for column, (name, colour) in enumerate(zip(names, COLOURS, strict=True), at):
                axes.plot(values[:, 0], values[:, column], color=colour, label=name, lw=1.3)
            axes.set_ylabel(f"face {key}, {unit}")
            if first:
                axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
        diagrams[0].axhline(0, color="black", lw=0.5)
        for began, length_s in self._blinks.get(key, ()):
            diagrams[-1].axvspan(began, began + length_s, color=SHADE, alpha=0.5, lw=0)
        if self._signals:
            diagrams[-1].set_ylim(0, 1.05)


def openings(told: Signals) -> tuple[float, float, float]:
    """How open left eye, right eye and mouth are; NaN where that cannot be known."""
    found = (told.left_eye.open, told.right_eye.open, told.mouth_open)
    left, right, mouth = (np.nan if value is None else value for value in found)
    return left, right, mouth


def broken(values: Any) -> Any:
    """(N, C) rows by time with a row of NaN in each gap, where a line is to break."""
    steps = np.diff(values[:, 0])
    if not len(steps):
        return values
    gaps = np.flatnonzero(steps > GAP * np.median(steps)) + 1
    return np.insert(values, gaps, np.nan, axis=0)

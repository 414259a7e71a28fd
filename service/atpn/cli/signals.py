"""Signals in tables and in columns of numbers."""

from atpn.client import Face, Signals

NAMES = (
    *("left_eye_open", "left_pupil_x", "left_pupil_y"),
    *("right_eye_open", "right_pupil_x", "right_pupil_y"),
    *("mouth_open", "smile", "brow_raise"),
)
BLINKS = ("blinks", "closed_s")
HEADINGS = ("eyes open", "mouth open", "smile", "brows")


def columns(frames: bool) -> tuple[str, ...]:
    """Names of the numbers of a face: of frames also its blinks."""
    return NAMES + BLINKS if frames else NAMES


def numbers(face: Face, frames: bool) -> list[object]:
    """A face's numbers; empty where something is turned away."""
    told = face.signals
    values: list[float | None] = []
    for eye in (told.left_eye, told.right_eye):
        values += [eye.open, *(eye.pupil or (None, None))]
    values += [told.mouth_open, told.smile, told.brow_raise]
    if frames:
        values += [told.blinks.count, told.blinks.closed_s]
    return ["" if value is None else value for value in values]


def cells(told: Signals) -> list[str]:
    """What a table shows of a face, under `HEADINGS`."""
    eyes = f"{_percent(told.left_eye.open)} {_percent(told.right_eye.open)}"
    return [eyes, *(_percent(v) for v in (told.mouth_open, told.smile, told.brow_raise))]


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:.0f} %"

"""What a stream learns of a person: their own face at rest, and their blinks. Pure.

Levels are running quantiles by stochastic approximation (Robbins and Monro, 1951): each frame moves
a level a small step up or down, so that in the long run a given share of the frames lies below it.
"""

from dataclasses import dataclass, replace

from atpn.faces.signals import AVERAGE, Ratios, Rest

#: Shares of the frames below the levels: eyes are open in most, mouth and brows at rest in half.
OPEN_SHARE, REST_SHARE = 0.75, 0.5
#: Steps, in the ratios' own units: the first, divided by the number of the frame, and the least.
FIRST_STEP, LEAST_STEP = 0.05, 0.0002
#: No person is farther from the average than this.
OPEN_EYES, MOUTHS, BROWS = (0.18, 0.5), (0.7, 0.95), (0.2, 0.5)
#: How much of the eyes' ratio in a blink is taken for that of closed eyes, and the shares of the
#: open eyes' ratio between which that stays.
CLOSED_PART, CLOSED_EYES = 0.1, (0.25, 0.55)
SHUT, OPENED = 0.5, 0.65  # openness below which eyes have closed, from which they are open again
LONGEST_BLINK_S = 1.0  # a longer closure is no blink
NEVER_OPEN = 0.0
LONGEST_GAP_S = 1.0  # between two frames with the face: after a longer one a closure is forgotten


@dataclass(frozen=True)
class Closure:
    """Eyes that are closed."""

    seq: int  # of the frame that showed it first
    at_s: float
    low: float  # least ratio of the eyes since then; NEVER_OPEN where none was seen before


@dataclass(frozen=True)
class Blink:
    """Eyes that were closed, and opened again."""

    seq: int  # of the first frame with closed eyes
    at_s: float  # of that frame
    length_s: float  # up to the first frame with open eyes


@dataclass(frozen=True)
class Person:
    """What is known of a person after their last frame. Times: seconds of any one clock."""

    rest: Rest = AVERAGE
    frames: int = 0  # learnt from
    at_s: float = 0.0
    blinks: int = 0
    closed: Closure | None = None
    last: Blink | None = None  # the newest


def met(person: Person, ratios: Ratios, seq: int, at_s: float) -> Person:
    """The person after frame ``seq`` at ``at_s``, which measured ``ratios``."""
    if not 0 <= at_s - person.at_s <= LONGEST_GAP_S:
        person = replace(person, closed=None)
    eyes = eyes_of(ratios)
    person = replace(person, closed=None) if eyes is None else _blinking(person, eyes, seq, at_s)
    frames = person.frames + 1
    return replace(person, rest=_learnt(person.rest, ratios, frames), frames=frames, at_s=at_s)


def timeless(person: Person) -> Person:
    """The person without what was timed by a clock that is used no more."""
    return replace(person, closed=None, last=None)


def eyes_of(ratios: Ratios) -> float | None:
    """The mean of the eyes that can be seen: blinks are of both."""
    known = [ratio for ratio in (ratios.left_eye, ratios.right_eye) if ratio is not None]
    return sum(known) / len(known) if known else None


def _blinking(person: Person, eyes: float, seq: int, at_s: float) -> Person:
    rest, closed = person.rest, person.closed
    opened = (eyes - rest.closed_eye) / (rest.open_eye - rest.closed_eye)
    if closed is None:
        low = eyes if person.frames else NEVER_OPEN
        return replace(person, closed=Closure(seq, at_s, low)) if opened < SHUT else person
    if opened < OPENED:
        return replace(person, closed=replace(closed, low=min(closed.low, eyes)))
    length_s = at_s - closed.at_s
    if length_s > LONGEST_BLINK_S or closed.low == NEVER_OPEN:
        return replace(person, closed=None)
    closed_eye = rest.closed_eye + CLOSED_PART * (closed.low - rest.closed_eye)
    return replace(
        person,
        rest=replace(rest, closed_eye=closed_eye),
        blinks=person.blinks + 1,
        closed=None,
        last=Blink(closed.seq, closed.at_s, length_s),
    )


def plausible(rest: Rest) -> Rest:
    """The nearest face at rest that a person may have."""
    open_eye = _within(rest.open_eye, OPEN_EYES)
    least, most = CLOSED_EYES
    return Rest(
        open_eye=open_eye,
        closed_eye=_within(rest.closed_eye, (least * open_eye, most * open_eye)),
        mouth_width=_within(rest.mouth_width, MOUTHS),
        brows=_within(rest.brows, BROWS),
    )


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(limits[1], max(limits[0], value))


def _learnt(rest: Rest, ratios: Ratios, frames: int) -> Rest:
    step = max(FIRST_STEP / frames, LEAST_STEP)
    moved = Rest(
        open_eye=_moved(rest.open_eye, eyes_of(ratios), step, OPEN_SHARE),
        closed_eye=rest.closed_eye,
        mouth_width=_moved(rest.mouth_width, ratios.mouth_width, step, REST_SHARE),
        brows=_moved(rest.brows, ratios.brows, step, REST_SHARE),
    )
    return plausible(moved)


def _moved(level: float, value: float | None, step: float, share: float) -> float:
    """The level after one more value."""
    if value is None:
        return level
    return level + step * (share if value > level else share - 1)

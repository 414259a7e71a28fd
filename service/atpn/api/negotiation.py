"""In which form an answer is given: what Accept wishes, as far as it can be had."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgpack
import orjson
from fastapi import Response

Payload = dict[str, Any]

JSON, MSGPACK = "application/json", "application/msgpack"
#: Media type -> the names by which it is asked for; the first is taken where all are as welcome.
_OFFERED = {
    JSON: [JSON],
    MSGPACK: [MSGPACK, "application/x-msgpack", "application/vnd.msgpack"],
    "image/jpeg": ["image/jpeg"],
    "image/png": ["image/png"],
}
_WEIGHT = re.compile(r"0(\.\d*)?|1(\.0*)?")

Rank = tuple[float, int]  # the weight, and minus the place in the header: higher is better
_REFUSED: Rank = (0.0, 0)


@lru_cache(64)
def wished_type(accept: str, pictures: bool) -> str:
    """The media type that Accept gives the highest weight (RFC 9110, 12.5.1); JSON where none can
    be answered. Of several, the one that is named first; without ``pictures``, none of those.
    """
    ranges = _ranges_of(accept)
    best, chosen = _REFUSED, JSON
    for kind, names in _OFFERED.items():
        rank = _rank_of(names, ranges)
        if rank > best and (pictures or not kind.startswith("image/")):
            best, chosen = rank, kind
    return chosen


def _ranges_of(accept: str) -> dict[str, Rank]:
    """Media range -> its rank; parameters other than q do not matter, what is no weight is out."""
    ranges: dict[str, Rank] = {}
    for place, part in enumerate(accept.lower().split(",")):
        name, *parameters = (word.strip() for word in part.split(";"))
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        weight = weights[0] if weights else "1"
        if _WEIGHT.fullmatch(weight):
            ranges[name] = max(ranges.get(name, _REFUSED), (float(weight), -place))
    return ranges


def _rank_of(names: list[str], ranges: Mapping[str, Rank]) -> Rank:
    """By the most specific range that is about it."""
    for about in (names, [f"{names[0].partition('/')[0]}/*"], ["*/*"]):
        found = [ranges[name] for name in about if name in ranges]
        if found:
            return max(found)
    return _REFUSED


def packed(payload: Payload, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """``payload`` as JSON or msgpack."""
    data = msgpack.packb(payload) if kind == MSGPACK else orjson.dumps(payload)
    return Response(data, headers=dict(headers or {}), media_type=kind)

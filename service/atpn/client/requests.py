"""HTTP without sockets: what to send for a call, what an answer means, when to try again."""

import json
import random
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from atpn import __version__
from atpn.client.errors import ClientError, ConnectionFailed, ServiceError, TimedOut
from atpn.client.parts import Payload
from atpn.client.pictures import Picture, media_type
from atpn.client.results import Result

Boxes = Sequence[Sequence[float]]

LONGEST_WAIT_S = 30.0  # a Retry-After beyond it is told to the caller instead of waited for
MOST_KEPT = 256  # connections that wait for the next call; there is no limit to those in use
TRY_AGAIN = (429, 502, 503)  # 502 is a proxy's, whose replica died over the call
GROUP_IMAGES, GROUP_BYTES = 32, 40 * 1024 * 1024  # a service's default limits, with some room


@dataclass(frozen=True)
class Endpoint:
    """A service, and how patient to be with it; see `Client`."""

    url: str = "http://127.0.0.1:8000"
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 15.0
    retries: int = 3
    lossless: bool = False
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url: http:// or https:// is expected, not {self.url!r}")
        try:
            host = urlsplit(self.url).hostname or ""
            host.encode("idna")  # as it is looked up
            known = httpx.URL(self.url).host and (urlsplit(self.url).port != 0)
        except (httpx.InvalidURL, ValueError) as error:
            raise ValueError(f"url: {self.url!r}: {error}") from error
        if not known:
            raise ValueError(f"url: {self.url!r}: a host is missing, or its port is none")
        if self.key is not None and not re.fullmatch(r"[!-~]([ -~]*[!-~])?", self.key):
            raise ValueError(
                "key: ASCII alone is expected, without line breaks, and no space at either end"
            )

    @property
    def headers(self) -> dict[str, str]:
        """Who asks, and with which key."""
        named = {"User-Agent": f"atpn/{__version__}"}
        return named if self.key is None else named | {"Authorization": f"Bearer {self.key}"}

    @property
    def http(self) -> dict[str, Any]:
        """The options of an httpx client."""
        return {
            "base_url": self.url,
            "headers": self.headers | {"X-Request-Timeout": f"{self.timeout_s:g}"},
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=MOST_KEPT),
            "timeout": httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, 5.0)),
            "verify": self.trusted if self.url.startswith("https") else True,
        }

    @cached_property
    def trusted(self) -> ssl.SSLContext:
        """By which certificates are checked: the caller's, or the system's and certifi's."""
        if self.ssl_context is not None:
            return self.ssl_context
        context = httpx.create_ssl_context()
        context.load_default_certs()
        return context


@dataclass(frozen=True)
class Wanted:
    """What a call asks to be told."""

    points: int = 98
    pose: bool = False
    max_faces: int | None = None
    min_confidence: float | None = None
    boxes_are: str | None = None  # detector, landmarks or roi; None: as the service takes them
    signals: bool = False
    quality: str = "normal"  # or best

    @property
    def query(self) -> dict[str, str]:
        """The parameters of /align."""
        return {"points": str(self.points)} | self._include(pose=self.pose) | self._limits

    @property
    def pose_query(self) -> dict[str, str]:
        """The parameters of /pose, which tells the pose anyway."""
        return self._include(pose=False) | self._limits

    def _include(self, pose: bool) -> dict[str, str]:
        asked = [name for name, wanted in (("pose", pose), ("signals", self.signals)) if wanted]
        return {"include": ",".join(asked)} if asked else {}

    @property
    def _limits(self) -> dict[str, str]:
        limits = {
            "max_faces": self.max_faces,
            "min_confidence": self.min_confidence,
            "boxes_are": self.boxes_are,
            "quality": None if self.quality == "normal" else self.quality,
        }
        return {name: str(value) for name, value in limits.items() if value is not None}


def one_image(path: str, query: dict[str, str], data: bytes, boxes: Boxes | None) -> Payload:
    """The arguments of ``httpx.request`` for /align or /pose."""
    call: Payload = {"method": "POST", "url": path, "params": query}
    call |= {"content": data, "headers": {"Content-Type": media_type(data)}}
    if boxes is None:
        return call
    corners = json.dumps([[float(edge) for edge in box] for box in boxes], separators=(",", ":"))
    return call | {"params": query | {"boxes": corners}}


def groups(images: Sequence[bytes]) -> Iterator[slice]:
    """Which images go into one request: as many as a service takes by default."""
    first = size = 0
    for i, data in enumerate(images):
        if i > first and (i - first == GROUP_IMAGES or size + len(data) > GROUP_BYTES):
            yield slice(first, i)
            first, size = i, 0
        size += len(data)
    yield slice(first, len(images))


def refused_alone(error: ServiceError, pictures: Sequence[Picture]) -> Result:
    """The result of an image that is too large for a request of its own; else raises ``error``."""
    if error.status != httpx.codes.REQUEST_ENTITY_TOO_LARGE or len(pictures) > 1:
        raise error
    problem = {"code": error.code, "detail": error.detail}
    return Result({"error": problem}, error, pictures[0])


def many_images(query: dict[str, str], images: Sequence[bytes]) -> Payload:
    """The arguments of ``httpx.request`` for /align/batch."""
    files = [("image", _file(str(index), data)) for index, data in enumerate(images)]
    return {"method": "POST", "url": "/align/batch", "params": query, "files": files}


def _file(name: str, data: bytes) -> tuple[str, bytes, str]:
    return name, data, media_type(data)


def result_of(answer: Payload, picture: Picture) -> Result:
    """The faces of one image; ServiceError where the answer is none of the service's."""
    if not isinstance(answer.get("faces"), list):
        raise ServiceError("the answer has no faces in it: is this the right address?")
    return Result(answer, picture=picture)


def results_of(answer: Payload, pictures: Sequence[Picture]) -> list[Result]:
    """One result per image of a batch, in order; a refused image holds its error."""
    parts = answer.get("results")
    if not isinstance(parts, list) or len(parts) != len(pictures):
        raise ServiceError(f"an answer to each of {len(pictures)} images is expected")
    return [
        Result(part, problem_of(part["error"]), picture)
        if "error" in part
        else result_of(part, picture)
        for part, picture in zip(parts, pictures, strict=True)
    ]


def body_of(response: httpx.Response) -> Payload:
    """The JSON of a good answer; ServiceError for a problem or for anything else."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.is_success and isinstance(body, dict):
        return body
    wait_s = _seconds(response.headers.get("retry-after"))
    if isinstance(body, dict) and "code" in body:
        raise problem_of(body, response.status_code, wait_s)
    seen = " ".join(response.text[:200].split()) or "an empty answer"
    code = "bad_answer" if response.is_success else f"http_{response.status_code}"
    raise ServiceError(seen, code=code, status=response.status_code, retry_after_s=wait_s)


def problem_of(
    problem: Payload, status: int | None = None, retry_after_s: float | None = None
) -> ServiceError:
    """The error that a problem document or an ``error`` message tells."""
    return ServiceError(
        str(problem.get("detail", "")),
        code=str(problem.get("code", "bad_answer")),
        status=problem.get("status", status),
        retry_after_s=retry_after_s,
    )


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; a date is left alone."""
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None


def failure_of(error: httpx.HTTPError, timeout_s: float) -> ClientError:
    """What an error of httpx means to the caller."""
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"no answer within {timeout_s:g} s ({type(error).__name__})")
    return ConnectionFailed(str(error) or type(error).__name__)


def backoff_s(attempt: int, first_s: float = 0.1, most_s: float = 5.0) -> float:
    """Seconds before the ``attempt``-th further try (from 0): doubled each time, with jitter."""
    ceiling = min(most_s, first_s * 2.0 ** min(attempt, 30))
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads callers, hides nothing


def reconnect_s(attempt: int, spread_s: float = 0.05) -> float:
    """Seconds before a stream's ``attempt``-th connection since its last answer.

    The first comes at once, for a replica that died has others beside it; ``spread_s`` keeps all
    its streams from coming in one moment. Then as `backoff_s`.
    """
    if attempt == 0:
        return random.uniform(0.0, spread_s)  # noqa: S311 - as above
    return backoff_s(attempt - 1)


def wait_before_retry_s(error: ClientError, attempt: int, retries: int) -> float | None:
    """How long to wait before the next try, or None where there should be none.

    A refused connection is not tried again: the address is wrong or nothing runs there.
    """
    if attempt >= retries or (error.retry_after_s or 0.0) > LONGEST_WAIT_S:
        return None
    if isinstance(error, ServiceError) and error.status in TRY_AGAIN:
        return max(error.retry_after_s or 0.0, backoff_s(attempt))
    broke = isinstance(error, ConnectionFailed)
    refused = isinstance(error.__cause__, httpx.ConnectError)
    return backoff_s(attempt) if broke and not refused else None

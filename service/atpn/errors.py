"""Every error that a caller can see: one class a case, in three families.

A class says its stable code, its HTTP status and the close code (RFC 6455 and its registry) of a
WebSocket that it ends; `api.problems` makes the answers of them.
"""

from collections.abc import Iterable, Mapping
from typing import Any


class AtpnError(Exception):
    """Base of all errors that are answered to the caller as a problem document (RFC 9457).

    As it stands: something is wrong with us.
    """

    status = 500
    code = "internal"
    title = "Internal error"
    close_code = 1011

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class CallersFault(AtpnError):
    """Sent again as it is, the request fails again."""

    status, code, title = 422, "invalid_request", "Invalid request"
    close_code = 1008


class TryLater(AtpnError):
    """Nothing is wrong with the request: another time, or on another replica, it is answered."""

    status, code, title = 503, "overloaded", "Try again later"
    close_code = 1013


class InvalidImage(CallersFault):
    """The bytes are no image, or a damaged one."""

    code, title = "invalid_image", "Not a readable image"


class UnsupportedMediaType(CallersFault):
    """A content type or image format that the service does not read."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class TooLarge(CallersFault):
    """More bytes than the limit."""

    status, code, title = 413, "too_many_bytes", "Request too large"


class TooManyPixels(CallersFault):
    """More pixels than the limit, by the image's own header."""

    status, code, title = 413, "too_many_pixels", "Image too large"


class InvalidRequest(CallersFault):
    """A field is missing, of the wrong type or out of range; the detail names it."""


class InvalidBox(CallersFault):
    """A box is not finite, inverted, or outside the image; the detail names it."""

    code, title = "invalid_box", "Invalid box"


class NoSuchModel(CallersFault):
    """The name or version of a model that is not served."""

    status, code, title = 404, "no_such_model", "No such model"


class Unauthorized(CallersFault):
    """Keys are set and the request has none of them."""

    status, code, title = 401, "unauthorized", "Missing or wrong API key"


class ForbiddenOrigin(CallersFault):
    """A browser's page of another site, which is not allowed to use this service."""

    status, code, title = 403, "forbidden_origin", "Origin not allowed"


class ClientGone(CallersFault):
    """The client hung up before its answer; nobody reads this one, but it is counted."""

    status, code, title = 499, "client_gone", "Client closed the connection"


class InferenceFailed(AtpnError):
    """The model failed on this face, alone too."""

    code, title = "inference_failed", "Inference failed"

    @classmethod
    def by(cls, error: Exception) -> "InferenceFailed":
        """What is told of the model's own error: of which kind it is, and none of its words."""
        failure = cls(f"the model failed: {type(error).__name__}")
        failure.__cause__ = error
        return failure


class Overloaded(TryLater):
    """The queue is full; nothing was queued."""

    title = "Queue full"


class RateLimited(TryLater):
    """A client asks for more than its share."""

    status, code, title = 429, "rate_limited", "Too many requests"


class TooManyStreams(TryLater):
    """The limit of open /track connections is reached."""

    code, title = "too_many_streams", "Too many streams"


class EngineUnavailable(TryLater):
    """The inference server that this replica sends its batches to does not answer."""

    code, title = "engine_unavailable", "Inference server unavailable"


class ShuttingDown(TryLater):
    """The process is draining."""

    code, title = "shutting_down", "Shutting down"
    close_code = 1012


class RequestTimeout(TryLater):
    """The body had not come when the request's deadline passed; the connection is closed."""

    status, code, title = 408, "request_timeout", "Request timeout"


class DeadlineExceeded(TryLater):
    """The answer would have come too late; the work was dropped."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


class StaleWrite(Exception):
    """A newer frame of the session is already in the store (not shown to callers)."""


class StoreUnavailable(Exception):
    """The session store did not answer (not shown to callers; streams go on)."""


class ConfigurationError(Exception):
    """The service cannot start as configured; the message says what to change."""


def first_of(errors: Iterable[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Where the first of pydantic's validation errors is, and what it says."""
    first = next(iter(errors))
    return [str(part) for part in first["loc"]], first["msg"]

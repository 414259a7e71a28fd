"""Every error that a caller can see: one class a case, with a stable code and an HTTP status."""


class AtpnError(Exception):
    """Base of all errors that are answered to the caller as a problem document (RFC 9457)."""

    status = 500
    code = "internal"
    title = "Internal error"

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class InvalidImage(AtpnError):
    """The bytes are no image, or a damaged one."""

    status, code, title = 422, "invalid_image", "Not a readable image"


class UnsupportedMediaType(AtpnError):
    """A content type or image format that the service does not read."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class TooLarge(AtpnError):
    """More bytes than the limit."""

    status, code, title = 413, "too_many_bytes", "Request too large"


class TooManyPixels(AtpnError):
    """More pixels than the limit, by the image's own header."""

    status, code, title = 413, "too_many_pixels", "Image too large"


class InvalidRequest(AtpnError):
    """A field is missing, of the wrong type or out of range; the detail names it."""

    status, code, title = 422, "invalid_request", "Invalid request"


class InvalidBox(AtpnError):
    """A box is not finite, inverted, or outside the image; the detail names it."""

    status, code, title = 422, "invalid_box", "Invalid box"


class Overloaded(AtpnError):
    """The queue is full; nothing was queued."""

    status, code, title = 503, "overloaded", "Queue full"


class ShuttingDown(AtpnError):
    """The process is draining."""

    status, code, title = 503, "shutting_down", "Shutting down"


class DeadlineExceeded(AtpnError):
    """The answer would have come too late; the work was dropped."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


class InferenceFailed(AtpnError):
    """The model failed on this face, alone too."""

    status, code, title = 500, "inference_failed", "Inference failed"


class EngineUnavailable(AtpnError):
    """The inference server that this replica sends its batches to does not answer."""

    status, code, title = 503, "engine_unavailable", "Inference server unavailable"


class NoSuchModel(AtpnError):
    """The name or version of a model that is not served."""

    status, code, title = 404, "no_such_model", "No such model"


class Unauthorized(AtpnError):
    """Keys are set and the request has none of them."""

    status, code, title = 401, "unauthorized", "Missing or wrong API key"


class RateLimited(AtpnError):
    """A client asks for more than its share."""

    status, code, title = 429, "rate_limited", "Too many requests"


class ForbiddenOrigin(AtpnError):
    """A browser's page of another site, which is not allowed to use this service."""

    status, code, title = 403, "forbidden_origin", "Origin not allowed"


class ClientGone(AtpnError):
    """The client hung up before its answer; nobody reads this one, but it is counted."""

    status, code, title = 499, "client_gone", "Client closed the connection"


class TooManyStreams(AtpnError):
    """The limit of open /track connections is reached."""

    status, code, title = 503, "too_many_streams", "Too many streams"


class StaleWrite(Exception):
    """A newer frame of the session is already in the store (not shown to callers)."""


class StoreUnavailable(Exception):
    """The session store did not answer (not shown to callers; streams go on)."""


class ConfigurationError(Exception):
    """The service cannot start as configured; the message says what to change."""

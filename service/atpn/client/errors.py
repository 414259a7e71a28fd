"""What can go wrong for a client: the service's own problems, the connection, the clock."""


class ClientError(Exception):
    """Base of all errors of the client.

    ``code`` is stable and made to be switched on, ``detail`` is for people; ``status`` is the
    HTTP status where there was an answer, ``retry_after_s`` what the service asked to wait.
    """

    code = "client_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code or type(self).code
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class ServiceError(ClientError):
    """The service answered with a problem; ``code`` is the service's."""

    code = "bad_answer"  # where it is no problem document, nor anything else we know


class ConnectionFailed(ClientError):
    """The service could not be reached, or hung up before it answered."""

    code = "connection_failed"


class TimedOut(ClientError):
    """No answer came in time."""

    code = "timed_out"

"""How uvicorn's connections are bounded: in the time that a request's headers may take."""

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Config(uvicorn.Config):
    """uvicorn's, with these connections; ``options`` are uvicorn's own."""

    def __init__(self, app: ASGIApp, *, header_timeout_s: float, **options: Any) -> None:
        super().__init__(app, http=HttpConnection, **options)
        self.header_timeout_s = header_timeout_s


class HttpConnection(HttpToolsProtocol):
    """Closed where the headers of a request are not complete in time: the first from the moment
    of the connection, a later one from its first byte. A WebSocket's handshake is such a request.

    So is one that has its answer and goes on sending the body that nobody wants any more. While a
    request is in work nothing is closed: reading its body has the request's own deadline.
    """

    config: Config
    _due: asyncio.TimerHandle | None = None
    _between_requests = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first headers are due."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whatever comes between two requests begins the next: empty lines, too."""
        if self._between_requests:
            self._expect_headers()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins, perhaps in the same piece of data in which the last one ended."""
        self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """In time."""
        self._between_requests = False
        self._expect_nothing()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Headers and body are there."""
        self._between_requests = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next headers are due soon if the client still sends a body."""
        super().on_response_complete()
        if not self._between_requests and not self.transport.is_closing():
            self._expect_headers()

    def _expect_headers(self) -> None:
        if self._due is None:
            self._due = self.loop.call_later(self.config.header_timeout_s, self._on_late)

    def _expect_nothing(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _on_late(self) -> None:
        self._due = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_headers()  # pipelined: the request before it is answered first
        else:
            self.transport.close()

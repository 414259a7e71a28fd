"""How uvicorn's connections are bounded: headers and answers in time and size, what a WebSocket
sends in memory.
"""

import asyncio
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PARSED_AT_ONCE = 16 * 1024  # bytes
#: Of headers, and of anything else that is no part of a body (trailers, empty lines, what goes
#: before a chunk); the piece of data in which they begin is not counted.
MOST_HEADER_BYTES = 64 * 1024
MOST_HEADERS = 128
MOST_WAITING = 64  # requests of a connection behind one that is in work
LEAST_TAKEN = 256 * 1024  # bytes of an answer that a client has to take in a header timeout
TOO_MANY_HEADERS = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"


class Config(uvicorn.Config):
    """uvicorn's, with these connections; ``options`` are uvicorn's own."""

    def __init__(self, app: ASGIApp, *, header_timeout_s: float, **options: Any) -> None:
        super().__init__(app, http=HttpConnection, ws=WebSocketConnection, **options)
        self.header_timeout_s = header_timeout_s


class HttpConnection(HttpToolsProtocol):
    """Closed where the headers of a request are not complete in time: the first from the moment
    of the connection, a later one from its first byte. A WebSocket's handshake is such a request.

    So is one that has its answer and goes on sending the body that nobody wants any more. While a
    request is in work nothing is closed: reading its body has the request's own deadline. Headers
    without end are a 431; who asks without end, or does not take the answer, is given up.
    """

    config: Config
    _due: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None
    _between_requests = True
    _unread = 0  # bytes since anything that the application gets

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first headers are due."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._expect_nothing()
        self._cease_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whatever comes between two requests begins the next: empty lines, too."""
        if self._between_requests:
            self._expect_headers()
        self._unread += len(data)
        super().data_received(data)
        if self._unread > MOST_HEADER_BYTES:
            self._refuse()

    def send_400_response(self, msg: str) -> None:
        """What was refused already gets no second answer."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """A request begins, perhaps in the same piece of data in which the last one ended."""
        self._expect_headers()
        self._unread = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One more; trailers are passed over."""
        if not self._between_requests:
            return
        if len(self.headers) == MOST_HEADERS:
            self._refuse()
            raise ValueError("too many headers")  # the parser stops
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """In time; a client that asks on and on before it is answered is let go."""
        if len(self.pipeline) >= MOST_WAITING:
            self._refuse()
            raise ValueError("too many requests that wait")  # the parser stops
        self._between_requests = False
        self._unread = 0
        self._expect_nothing()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The application's own limit counts these."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Headers and body are there."""
        self._between_requests = True
        self._unread = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next headers are due soon if the client still sends a body."""
        super().on_response_complete()
        if not self._between_requests and not self.transport.is_closing():
            self._expect_headers()

    def pause_writing(self) -> None:
        """The client does not take what is written as fast as it is written."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has taken it."""
        self._cease_watching()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closing alone would wait for ever for a client that does not read."""
        super().timeout_keep_alive_handler()
        left = self.transport.get_write_buffer_size()
        if left and self._untaken is None:
            self._watch(left)

    def _watch(self, left: int) -> None:
        self._untaken = self.loop.call_later(self.config.header_timeout_s, self._on_untaken, left)

    def _cease_watching(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _on_untaken(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if before - left < LEAST_TAKEN:
            self.transport.abort()
        else:
            self._watch(left)

    def _refuse(self) -> None:
        """Close, with an answer where no other one is due."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(TOO_MANY_HEADERS)
        self.transport.close()

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


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Reads no further while the application has not taken what was read, nor while the client
    does not take what is written to it: pongs, too, which no application waits for.

    uvicorn reads on after pings, however many; and it puts all messages of one piece of data into
    the queue, which can be fifty times as large as their bytes. Its ``ws_max_queue`` does nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = bytearray()

    def data_received(self, data: bytes) -> None:
        """Parse until there is a message for the application; the rest waits for it."""
        self._unparsed += data
        self._parse()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._read_on()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message."""
        message = await self.queue.get()
        self._read_on()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Write; after the closing message, which resumes reading, the reply may be there."""
        await super().send(message)
        self._parse()

    def keepalive_timeout(self) -> None:
        """Closing alone would wait for ever for a client that does not read."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    def _read_on(self) -> None:
        if self.read_paused and self.queue.empty() and self.writable.is_set():
            self.read_paused = False
            self.transport.resume_reading()
            self._parse()

    def _parse(self) -> None:
        while self._unparsed and not self.read_paused and not self.transport.is_closing():
            part = bytes(self._unparsed[:PARSED_AT_ONCE])
            del self._unparsed[:PARSED_AT_ONCE]
            super().data_received(part)

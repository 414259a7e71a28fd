"""The process: uvicorn with our limits, and a drain between SIGTERM and the end."""

import asyncio
import gc
import json
import logging
import signal
import socket
import threading
import time
from contextlib import AsyncExitStack, suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from atpn import hangups
from atpn.app import create_app
from atpn.connections import Config
from atpn.core import Core
from atpn.errors import ConfigurationError
from atpn.settings import Settings

log = logging.getLogger("atpn")


#: What a line may carry besides its message: no image, key or token.
WHICH = ("code", "request_id", "session_id")
LOG_FIELDS = (*WHICH, "route", "status", "ms")


class TextLines(logging.Formatter):
    """A line for people, with the error's code and the ids of request and session at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as logging calls it
        """Without the exception, which follows."""
        fields = [f"{name}={vars(record)[name]}" for name in WHICH if name in vars(record)]
        return " ".join([super().formatMessage(record), *fields])


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message and, where there is one, the exception."""
        fields: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: vars(record)[name] for name in LOG_FIELDS if name in vars(record)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def set_up_logging(settings: Settings) -> None:
    """Lines on standard error, for people or for machines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # uvicorn's lines about connections contain the query, and so resume tokens.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(is_ours)


def is_ours(record: logging.LogRecord) -> bool:
    """Whether a line is no traceback of a text message that is not UTF-8.

    Any client could fill the log with those; it is told by the close code 1007.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError))


class DrainingServer(uvicorn.Server):
    """On the first signal stops wanting traffic, lingers, ends the streams, and then stops."""

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        config.lifespan = "off"  # uvicorn's logs a traceback of what we tell in a line
        self._drain_s = drain_s
        self._drain: asyncio.Task[None] | None = None
        self._open = AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models, listen, and say where; ConfigurationError where that cannot be."""
        app: FastAPI = self.config.app  # type: ignore[assignment]
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(app.router.lifespan_context(app))
            try:
                await super().startup(sockets)
            except OSError as error:
                raise unusable(self.config.host, self.config.port, error) from error
            self._open = stack.pop_all()
        if self.started:
            loop = asyncio.get_running_loop()
            if threading.current_thread() is threading.main_thread():  # a process of its own
                # What is there by now stays: to go through it once would hold up all for 60 ms.
                gc.collect()
                gc.freeze()
                core: Core = self.config.app.state.core  # type: ignore[union-attr]
                loop.add_signal_handler(signal.SIGHUP, core.reloader.request)
                if hangups.came():
                    core.reloader.request()
            log.info("serving on http://%s:%d, /docs explains", self.config.host, self.config.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, end what is open, and close what was loaded."""
        async with self._open:
            await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains; a second one, or an interrupt from the keyboard, stops."""
        core: Core | None = getattr(self.config.app.state, "core", None)  # type: ignore[union-attr]
        if core is None or self._drain is not None or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        self._drain = asyncio.get_running_loop().create_task(self._finish(core))

    async def _finish(self, core: Core) -> None:
        core.leaving = True
        core.metrics.draining.set(1)
        await asyncio.sleep(core.settings.linger_s)
        core.draining.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await core.no_streams.wait()
        self.should_exit = True  # and not as if killed: the process ends with 0


def bound(settings: Settings) -> socket.socket:
    """A socket that has the port; ConfigurationError where it cannot be had.

    It does not listen yet: until the models are loaded, connections are refused.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise unusable(settings.host, settings.port, error) from error
    return sock


def unusable(host: str, port: int, error: OSError) -> ConfigurationError:
    """Why it cannot be listened there, with the names of the settings."""
    return ConfigurationError(f"ATPN_HOST={host} ATPN_PORT={port}: {error.strerror or error}")


def uvicorn_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How ``app`` is served: our limits in place of uvicorn's."""
    return Config(
        app,
        header_timeout_s=settings.header_timeout_s,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        # One frame above the frame limit still gets a per-frame error; far larger ones close.
        ws_max_size=settings.max_frame_bytes * 2,
        ws_per_message_deflate=False,  # frames are compressed images already
        timeout_graceful_shutdown=int(settings.drain_s) + 1,
    )


def serve(settings: Settings, listener: socket.socket | None = None) -> None:
    """Run the service in this process until it is told to stop; ConfigurationError where it cannot
    start.
    """
    set_up_logging(settings)
    config = uvicorn_config(create_app(settings), settings)
    with listener or bound(settings) as sock:
        DrainingServer(config, settings.drain_s).run([sock])

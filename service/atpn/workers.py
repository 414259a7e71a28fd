"""Several processes on one port: starts them, replaces those that die, passes signals on."""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from multiprocessing.context import SpawnProcess
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from atpn import server
from atpn.errors import ConfigurationError
from atpn.server import set_up_logging
from atpn.settings import Settings

log = logging.getLogger("atpn.workers")

CHECK_S = 0.5  # between looks at the workers


def listen(settings: Settings) -> socket.socket:
    """The socket that the workers share; ConfigurationError where the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{settings.host}:{settings.port}: {error.strerror}") from error
    listener.listen(2048)
    return listener


class Workers:
    """``settings.workers`` processes that accept from one socket.

    The first signal is passed on: every worker drains. A second one ends them.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._spawn = multiprocessing.get_context("spawn")
        self._running: list[SpawnProcess] = []
        self._stopping = threading.Event()
        self._died = 0

    def run(self) -> int:
        """Serve until told to stop; 0, or 1 where workers could not even start."""
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        self._running = [self._start() for _ in range(self._settings.workers)]
        while not self._stopping.wait(CHECK_S):
            self._replace_dead()
        settings = self._settings
        for process in self._running:
            process.join(settings.linger_s + 2 * settings.drain_s + 10)  # streams, then requests
            if process.is_alive():
                process.kill()
                process.join()
        return 1 if self._died > 2 * self._settings.workers else 0

    def _start(self) -> SpawnProcess:
        process = self._spawn.Process(target=work, args=(self._settings, self._listener))
        process.start()
        return process

    def _replace_dead(self) -> None:
        for i, process in enumerate(self._running):
            if process.is_alive() or self._stopping.is_set():
                continue
            log.error("worker %d ended with %s; starting another", process.pid, process.exitcode)
            if process.pid is not None:
                mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
            self._died += 1
            if self._died > 2 * self._settings.workers:
                log.error("workers keep dying: giving up")
                self._on_signal(signal.SIGTERM, None)
                return
            self._running[i] = self._start()

    def _on_hangup(self, *_: object) -> None:
        for process in self._running:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)

    def _on_signal(self, sign: int, _: FrameType | None) -> None:
        again = self._stopping.is_set()
        self._stopping.set()
        for process in self._running:
            if process.is_alive():
                if again:
                    process.kill()
                else:
                    process.terminate()
        if not again:
            log.info("signal %d: draining %d workers", sign, len(self._running))


def work(settings: Settings, listener: socket.socket) -> None:
    """Serve in a worker process; drain when the parent is gone, for nobody else would say so."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("a worker is started by a parent process")

    def watch() -> None:
        parent.join()
        log.error("the parent process is gone: draining")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    server.serve(settings, listener)


def serve(settings: Settings) -> int:
    """Run the service in as many processes as the settings say; the exit code."""
    if settings.workers == 1:
        server.serve(settings)
        return 0
    set_up_logging(settings)
    if settings.redis_url is None:
        log.warning("without ATPN_REDIS_URL a stream that reconnects to another worker starts anew")
    with (
        tempfile.TemporaryDirectory(prefix="atpn-metrics-") as folder,
        listen(settings) as listener,
    ):
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        log.info("%d workers on http://%s:%d", settings.workers, *listener.getsockname()[:2])
        return Workers(settings, listener).run()

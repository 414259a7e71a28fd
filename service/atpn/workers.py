"""Several processes on one port: starts them, replaces those that die, passes signals on."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import SimpleQueue
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from atpn import hangups, server
from atpn.errors import ConfigurationError
from atpn.server import bound, set_up_logging
from atpn.settings import Settings

log = logging.getLogger("atpn.workers")

CHECK_S = 0.5  # between looks at the workers
DYING_S = 300.0  # in which more than two deaths for each worker are too many
RETRY_S = 15.0  # after a worker that could not start where others serve: it may be passing


class Workers:
    """``settings.workers`` processes that accept from one socket.

    The first signal is passed on: every worker drains. A second one ends them.
    """

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._spawn = multiprocessing.get_context("spawn")
        self._refusals: SimpleQueue[str] = self._spawn.SimpleQueue()
        self._running: list[SpawnProcess] = []
        self._told: list[SpawnProcess] = []  # to stop
        self._stopping = threading.Event()
        self._deaths: list[float] = []  # when, of the last DYING_S
        self._refusal: str | None = None  # why none can start
        self._has_replaced = False
        self._again_at: dict[int, float] = {}  # place of one that could not start -> the next try

    def run(self) -> int:
        """Serve until told to stop; 0, or 1 where workers kept dying.

        ConfigurationError where one of the first workers cannot start as configured: no other
        could. One that takes another's place is tried again.
        """
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        while len(self._running) < self._settings.workers and not self._stopping.is_set():
            self._running.append(self._start())
        while not self._stopping.wait(CHECK_S):
            self._replace_dead()
        self._listener.close()  # refused as soon as no worker accepts any more
        for process in self._running:
            if process not in self._told:  # it was being started when the others were told
                process.terminate()
        settings = self._settings
        for process in self._running:
            process.join(settings.linger_s + 2 * settings.drain_s + 10)  # streams, then requests
            if process.is_alive():
                process.kill()
                process.join()
        if self._refusal is None and not (self._has_replaced or self._refusals.empty()):
            self._refusal = self._refusals.get()  # told to stop before it was seen
        if self._refusal is not None:
            raise ConfigurationError(self._refusal)
        return 1 if self._keep_dying else 0

    @property
    def _keep_dying(self) -> bool:
        return len(self._deaths) > 2 * self._settings.workers

    def _start(self) -> SpawnProcess:
        process = self._spawn.Process(
            target=work, args=(self._settings, self._listener, self._refusals)
        )
        with hangups.held_back():
            process.start()
        return process

    def _replace_dead(self) -> None:
        now = time.monotonic()
        for i, process in enumerate(self._running):
            if process.is_alive() or self._stopping.is_set():
                continue
            if not self._refusals.empty():
                why = self._refusals.get()
                if not (self._has_replaced and any(p.is_alive() for p in self._running)):
                    self._refusal = why
                    self._stop()
                    return
                log.error("a worker cannot start, the next try is in %g s: %s", RETRY_S, why)
                self._again_at[i] = now + RETRY_S
            if i in self._again_at:
                if now >= self._again_at[i]:
                    del self._again_at[i]
                    self._running[i] = self._start()
                continue
            log.error("worker %d ended with %s; starting another", process.pid, process.exitcode)
            if process.pid is not None:
                mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
            self._deaths = [at for at in self._deaths if now - at < DYING_S] + [now]
            if self._keep_dying:
                log.error("workers keep dying: giving up")
                self._on_signal(signal.SIGTERM, None)
                return
            self._has_replaced = True
            self._running[i] = self._start()

    def _on_hangup(self, *_: object) -> None:
        for process in self._running:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGHUP)

    def _on_signal(self, sign: int, _: FrameType | None) -> None:
        if not self._stopping.is_set():
            log.info("signal %d: draining %d workers", sign, len(self._running))
        self._stop()

    def _stop(self) -> None:
        again = self._stopping.is_set()
        self._stopping.set()
        for process in self._running:
            if process.is_alive():
                if again:
                    process.kill()
                else:
                    self._told.append(process)
                    process.terminate()


def work(settings: Settings, listener: socket.socket, refusals: "SimpleQueue[str]") -> None:
    """Serve in a worker process; drain when the parent is gone, for nobody else would say so.

    Why it cannot start as configured is put into ``refusals``.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("a worker is started by a parent process")

    def watch() -> None:
        parent.join()
        log.error("the parent process is gone: draining")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    try:
        with hangups.kept():
            server.serve(settings, listener)
    except ConfigurationError as error:
        refusals.put(str(error))
        sys.exit(2)


def serve(settings: Settings) -> int:
    """Run the service in as many processes as the settings say; the exit code.

    ConfigurationError where it cannot start as configured.
    """
    if settings.workers == 1:
        server.serve(settings)
        return 0
    set_up_logging(settings)
    if settings.redis_url is None:
        log.warning("without ATPN_REDIS_URL a stream that reconnects to another worker starts anew")
    with (
        tempfile.TemporaryDirectory(prefix="atpn-metrics-") as folder,
        bound(settings) as listener,
    ):
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        log.info("%d workers on http://%s:%d", settings.workers, *listener.getsockname()[:2])
        return Workers(settings, listener).run()

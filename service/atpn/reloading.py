"""How a newer version of the model is taken into use while the service runs."""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from atpn.engine.inference import ModelFile, Network, find_model, shipped_models
from atpn.errors import ConfigurationError
from atpn.faces.pipeline import Pipeline

log = logging.getLogger("atpn")


class Reloader:
    """Puts the newest version of the model in the place of the one in use; one reload at a time.

    ``open_network`` loads a version and warms it. Use it as ``async with Reloader(...)``: with
    ``reload_every_s`` set it looks for versions by itself.
    """

    def __init__(self, pipeline: Pipeline, open_network: Callable[[ModelFile], Network]) -> None:
        self._pipeline = pipeline
        self._open_network = open_network
        self._one_at_a_time = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="reload")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def request(self) -> None:
        """Look for a newer version soon; while a reload runs, once more after it."""
        self._wanted.set()

    async def reload(self) -> bool:
        """Take the newest version into use; False where it is in use already.

        Batches that run end on the old version. ConfigurationError, and the old version stays
        in use, where the new one cannot be loaded.
        """
        async with self._one_at_a_time:
            pipeline = self._pipeline
            settings, metrics, old = pipeline.settings, pipeline.metrics, pipeline.network.model
            if settings.engine != "local" or settings.model_version is not None:
                return False
            folder = settings.model_dir or shipped_models()
            model = await asyncio.to_thread(find_model, folder, old.name)  # it reads whole files
            if model == old:
                return False
            network = await asyncio.to_thread(self._open_network, model)
            pipeline.network = network
            metrics.model.labels(old.name, old.version, network.provider).set(0)
            metrics.model.labels(model.name, model.version, network.provider).set(1)
            log.info("model %s/%s in place of version %s", model.name, model.version, old.version)
            return True

    async def _watch(self) -> None:
        every_s = self._pipeline.settings.reload_every_s
        while True:
            asked = await self._asked_within(every_s or None)
            self._wanted.clear()
            try:
                if not await self.reload() and asked:
                    model = self._pipeline.network.model
                    log.info("reload: %s/%s stays in use", model.name, model.version)
            except ConfigurationError as error:
                log.error("reload: %s", error)
            except Exception:
                log.exception("reload failed; the old version stays in use")

    async def _asked_within(self, seconds: float | None) -> bool:
        try:
            await asyncio.wait_for(self._wanted.wait(), seconds)
        except TimeoutError:
            return False
        return True

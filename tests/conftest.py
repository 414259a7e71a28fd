"""What many tests share: real photographs, the real service, and one around a fake model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import skimage.data
from fastapi import FastAPI
from numpy.typing import NDArray

from atpn.app import create_app
from atpn.assembly import run_core
from atpn.core import Core
from atpn.engine.inference import CPU, FaceNetwork, ModelFile, Predictions
from atpn.faces.detection import Detection, Detector
from atpn.geometry import Box, Image
from atpn.settings import Settings
from tests.clips import encoded

pytest_plugins = ["tests.skips"]


class FakeNetwork(FaceNetwork):
    """Sees the same face in every crop; can be held shut, fails on command, remembers its work."""

    def __init__(self, provider: str = "FakeExecutionProvider") -> None:
        """By default no provider of ONNX Runtime: the service then runs one batch at a time."""
        self._provider = provider
        self.model = ModelFile("fake", "1", Path(), {})
        self.gate = threading.Event()  # closed: a run waits in the model
        self.gate.set()
        self.fails_on: Callable[[Image], bool] = lambda _: False
        self.confidence = 0.9
        down = np.linspace(1 / 6, 5 / 6, 98, dtype=np.float32)
        across = np.where(np.arange(98) % 2, down[0], down[-1])
        #: (98, 2): from brow to chin, filling the ROI as a tracked face does, looking ahead.
        self.face: NDArray[np.float32] = np.stack([across, down], 1)
        self.pose = np.zeros(3, np.float32)  # radians
        self.batches: list[Image] = []  # each (N, 112, 112, 3)
        self.posed: list[bool] = []  # whether head poses were wanted of each

    @property
    def provider(self) -> str:
        return self._provider

    def run(self, crops: Image, pose: bool = True) -> Predictions:
        """The same face in each."""
        self.posed.append(pose)
        self.batches.append(crops)
        self.gate.wait(10)
        if any(self.fails_on(crop) for crop in crops):
            raise RuntimeError("a private word of the model")
        count = len(crops)
        return Predictions(
            landmarks=np.tile(self.face, (count, 1, 1)),
            pose=np.tile(self.pose, (count, 1)),
            confidence=np.full(count, self.confidence, np.float32),
        )


class FakeDetector(Detector):
    """Finds the same boxes in every image, or fails on command."""

    def __init__(self, *boxes: Box) -> None:
        self.boxes = list(boxes)
        self.unsure: list[Box] = []
        self.max_side = 640
        self.failure: Exception | None = None

    def detect(self, image: Image) -> list[Detection]:
        """The boxes, whatever the image shows."""
        assert image.ndim == 3
        if self.failure is not None:
            raise self.failure
        return [Detection(box, 0.9) for box in self.boxes]

    def detect_large(self, image: Image) -> list[Detection]:
        """The same."""
        return self.detect(image)

    def detect_unsure(self, image: Image) -> list[Detection]:  # noqa: ARG002 - as of any
        """What was set in ``unsure``."""
        return [Detection(box, 0.5) for box in self.unsure]


@dataclass(frozen=True)
class Service:
    """A running app and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def core(self) -> Core:
        """What the app was built of."""
        core: Core = self.app.state.core
        return core

    async def post(self, path: str, image: bytes, **headers: str) -> httpx.Response:
        """Send an encoded image as the raw body; ``x_api_key="k"`` is sent as X-Api-Key: k."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(
            path, content=image, headers={"content-type": "image/jpeg", **named}
        )

    async def post_boxes(self, path: str, image: bytes, boxes: object) -> httpx.Response:
        """Send an encoded image and boxes as a form."""
        return await self.client.post(path, files={"image": image}, data={"boxes": str(boxes)})


@dataclass(frozen=True)
class FakeService(Service):
    """A service around a fake model."""

    network: FakeNetwork
    detector: FakeDetector


async def opened(stack: AsyncExitStack, app: FastAPI) -> httpx.AsyncClient:
    """A client of ``app``, which is started now and stopped with the stack."""
    await stack.enter_async_context(app.router.lifespan_context(app))
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://atpn", trust_env=False)
    return await stack.enter_async_context(client)


async def until(condition: Callable[[], object], within_s: float = 5) -> None:
    """Return when ``condition()`` holds; TimeoutError if it never does."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


SettingsFactory = Callable[..., Settings]
FakeServiceFactory = Callable[..., Awaitable[FakeService]]


@pytest.fixture(scope="session")
def settings() -> SettingsFactory:
    """Settings with some changed by name."""

    def changed(**changes: Any) -> Settings:
        return Settings(**changes)

    return changed


@pytest.fixture(scope="session")
async def service(settings: SettingsFactory) -> AsyncIterator[Service]:
    """The service with the models that it ships."""
    async with AsyncExitStack() as stack:
        app = create_app(settings())
        yield Service(app, await opened(stack, app))


@pytest.fixture
async def fake_service(settings: SettingsFactory) -> AsyncIterator[FakeServiceFactory]:
    """A way to start services around a fake model: ``await start(boxes=[...], max_faces=2)``."""
    async with AsyncExitStack() as stack:

        async def start(
            boxes: list[Box] | None = None, on_cpu: bool = False, **changes: Any
        ) -> FakeService:
            network = FakeNetwork(CPU) if on_cpu else FakeNetwork()
            detector = FakeDetector(*([Box(8, 8, 40, 40)] if boxes is None else boxes))

            def opener(chosen: Settings) -> AbstractAsyncContextManager[Core]:
                return run_core(chosen, network, detector)

            app = create_app(settings(**changes), opener)
            client = await opened(stack, app)
            stack.callback(network.gate.set)  # before the app is stopped: it waits for the model
            return FakeService(app, client, network, detector)

        yield start


@pytest.fixture(scope="session")
def astronaut() -> Image:
    """A photograph of 512x512 pixels with one face, which looks into the camera."""
    photo: Image = skimage.data.astronaut()
    return photo


@pytest.fixture(scope="session")
def astronaut_jpeg(astronaut: Image) -> bytes:
    """The same photograph, as an upload."""
    return encoded(astronaut, 95)


@pytest.fixture(scope="session")
def small_png() -> bytes:
    """64x64 grey pixels, for a fake model that does not care."""
    return one_colour(128, 128, 128)


def one_colour(red: int, green: int, blue: int) -> bytes:
    """A PNG of 64x64 pixels of one colour."""
    return png(np.full((64, 64, 3), (red, green, blue), np.uint8))


def png(image: Image) -> bytes:
    """An RGB image as PNG bytes, without loss."""
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    return data.tobytes()

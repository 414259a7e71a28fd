"""The face network behind an Open Inference Protocol server (Triton, KServe, another atpn)."""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
from typing_extensions import override

from atpn.engine.inference import ModelFile, Network, Predictions
from atpn.engine.oip_tensors import (
    BINARY_TENSORS,
    HEADER_LENGTH,
    read_tensors,
    request_in_bytes,
    request_in_numbers,
)
from atpn.errors import ConfigurationError, EngineUnavailable
from atpn.geometry import Image

log = logging.getLogger("atpn.remote")

SCHEMES = ("oip+http://", "oip+https://")
CONNECTIONS = 16


class RemoteNetwork(Network):
    """Sends batches of crops to a server; a `Network`. Thread-safe."""

    def __init__(self, url: str, model: str, version: str | None, timeout_s: float) -> None:
        """``url`` is ``oip+http://host:port``; ConfigurationError where it is not, or where the
        server does not serve the model.
        """
        self._url = url
        if not url.startswith(SCHEMES) or not urlsplit(url).netloc:
            raise ConfigurationError(f"engine {url!r}: oip+http://HOST:PORT is expected")
        self._client = httpx.Client(
            base_url=url.removeprefix("oip+").rstrip("/"),
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=CONNECTIONS),
            follow_redirects=False,
            trust_env=False,
        )
        self._path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
        try:
            self.model = ModelFile(model, self._version_of(url, version), Path(), {})
        except ConfigurationError:
            self.close()
            raise
        self.sends_bytes = self._takes_bytes()
        log.info("engine: crops go as %s", "bytes" if self.sends_bytes else "JSON numbers")

    @property
    @override
    def provider(self) -> str:
        return self._url

    @override
    def run(self, crops: Image, pose: bool = True) -> Predictions:
        """EngineUnavailable where the server does not answer as it should."""
        write = request_in_bytes if self.sends_bytes else request_in_numbers
        return self._run(len(crops), *write(crops))

    def _run(self, count: int, body: bytes, headers: dict[str, str]) -> Predictions:
        try:
            answer = self._client.post(f"{self._path}/infer", content=body, headers=headers)
        except httpx.HTTPError as error:
            raise unavailable(f"{type(error).__name__} from {self._url}") from error
        if answer.status_code != httpx.codes.OK:
            raise unavailable(f"{self._url} answered {answer.status_code}")
        try:
            tensors = read_tensors(answer.content, answer.headers.get(HEADER_LENGTH), count)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise unavailable(f"{self._url} answered nonsense: {error}") from error
        return Predictions(tensors["landmarks"], tensors["pose"], tensors["confidence"])

    def warm_up(self, batch_sizes: list[int]) -> None:
        """One batch of each size, so that a server that compiles shapes has them ready."""
        for size in batch_sizes:
            self.run(np.zeros((size, 112, 112, 3), np.uint8))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _version_of(self, url: str, version: str | None) -> str:
        try:
            answer = self._client.get(self._path)
            answer.raise_for_status()
            versions = answer.json().get("versions") or ["0"]
        except (httpx.HTTPError, ValueError) as error:
            raise ConfigurationError(f"engine {url}: cannot read {self._path}: {error}") from error
        return version or str(versions[-1])

    def _takes_bytes(self) -> bool:
        """True where the server announces the binary tensor extension or, as KServe's does, takes
        one black crop in bytes without having announced it.
        """
        try:
            extensions = self._client.get("/v2").json().get("extensions") or []
        except (httpx.HTTPError, ValueError, AttributeError):
            extensions = []
        if BINARY_TENSORS in extensions:
            return True
        try:
            self._run(1, *request_in_bytes(np.zeros((1, 112, 112, 3), np.uint8)))
        except EngineUnavailable:
            return False
        return True


def unavailable(detail: str) -> EngineUnavailable:
    """The error, logged: callers are told no address."""
    log.warning("engine: %s", detail)
    return EngineUnavailable("the inference server does not answer; try again", retry_after_s=1)

"""Every setting of the service, read from environment variables with the prefix ``ATPN_``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_origin

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from atpn.errors import ConfigurationError, first_of

PREFIX = "ATPN_"
MIB = 1024 * 1024
SECRETS = {"token_keys", "redis_url", "api_key_hashes"}  # settings whose values no message repeats


class Settings(BaseSettings):
    """The limits and choices of one process; docs/settings.md is tested against it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="least severe log line that is written: debug, info, warning or error",
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="form of a log line: console (for people) or json (an object a line)",
    )

    traces: bool = Field(
        default=False,
        description="send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT (extra traces)",
    )

    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        default="auto",
        description="where the network runs: auto (a GPU where there is one), cpu, cuda or "
        "tensorrt; an explicit device that is missing stops the start",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="CPU threads of the network; 0 takes what the container may use",
    )
    engine: str = Field(
        default="local",
        pattern=r"^(local|oip\+https?://[^/?#@\s]+/?)$",
        description="local, or oip+http://HOST:PORT of an Open Inference Protocol server that runs "
        "the network",
    )
    model_dir: Path | None = Field(
        default=None,
        description="folder of models; by default the one that travels with the package",
    )
    model: str = Field(default="atpn", pattern=r"^[\w-]+$", description="name of the face model")
    model_version: str | None = Field(
        default=None, description="its version; by default the newest"
    )

    reload_every_s: float = Field(
        default=0.0,
        ge=0,
        description="how often to look for a newer version of the model; 0: on SIGHUP only",
    )

    max_batch_size: int = Field(
        default=8, ge=1, le=256, description="most faces in one run of the network"
    )
    max_wait_ms: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="how long an idle engine waits for more faces; on a CPU of images with more "
        "than half a batch of them alone, for fewer are run by the image's own thread",
    )
    max_queue_faces: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="faces that may wait; beyond it, 503 with Retry-After",
    )
    request_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="deadline of a request, its body included, and the most X-Request-Timeout may "
        "ask",
    )
    header_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="time for the headers of a request or of a WebSocket's handshake, and "
        "for each 256 KiB of an answer to be taken; the connection is closed then",
    )

    max_requests: int = Field(
        default=256, ge=1, description="HTTP requests with an image in work at once; beyond it, 503"
    )
    max_body_bytes: int = Field(default=12 * MIB, ge=1024, description="largest request body")
    max_batch_images: int = Field(
        default=32, ge=1, le=1000, description="most images of one /align/batch"
    )
    max_batch_bytes: int = Field(
        default=48 * MIB, ge=1024, description="largest body of /align/batch"
    )
    max_pixels: int = Field(
        default=40_000_000, ge=1, description="most pixels of an image, by its header"
    )
    max_boxes: int = Field(default=64, ge=1, description="most boxes in one request")
    max_faces: int = Field(
        default=32, ge=1, le=1000, description="most faces that one image is searched for"
    )
    min_confidence: float = Field(
        default=0.5, ge=0, le=1, description="detected faces below this confidence are left out"
    )
    second_look: bool = Field(
        default=True,
        description="look again, upright, at faces of photographs that lie askew in their region",
    )
    detector_threshold: float = Field(default=0.7, gt=0, lt=1, description="score of a detection")
    detector_max_side: int = Field(
        default=640,
        ge=64,
        le=4096,
        description="images are shrunk to this many pixels before detection",
    )

    track_threshold: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="face confidence at which a face is tracked on (paper, 3.4)",
    )
    track_keep_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="a tracked face may fall to this confidence for up to 5 frames",
    )
    track_max_faces: int = Field(default=4, ge=1, le=64, description="most faces of a stream")
    redetect_every: int = Field(
        default=30, ge=1, description="frames between searches for further faces of a stream"
    )
    max_frame_bytes: int = Field(
        default=4 * MIB, ge=1024, description="largest encoded frame of a stream"
    )
    max_streams: int = Field(
        default=1000, ge=1, description="open /track connections of one process"
    )
    stream_idle_s: float = Field(
        default=300.0, gt=0, description="a stream without frames is closed after"
    )
    stream_max_age_s: float = Field(
        default=3600.0,
        gt=0,
        description="a stream is asked to reconnect after, so that load spreads over new replicas",
    )

    redis_url: str | None = Field(
        default=None,
        description="store of tracking sessions: redis://, rediss://, "
        "redis+sentinel://HOST:PORT,…/NAME or redis+cluster://HOST:PORT,…; without it, this "
        "process's memory",
    )
    redis_timeout_s: float = Field(default=0.25, gt=0, le=10, description="longest wait for Redis")
    session_ttl_s: float = Field(
        default=60.0, ge=1, description="how long a session can be resumed"
    )
    token_keys: list[Annotated[SecretStr, Field(min_length=32)]] = Field(
        default=[],
        description="JSON list of secrets of 32 characters or more, the same on all replicas: the "
        "first signs resume tokens, all are accepted; forged tokens then never reach the store",
    )
    max_sessions: int = Field(
        default=100_000, ge=1, description="sessions kept in memory without Redis"
    )

    api_key_hashes: list[Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]] = Field(
        default=[],
        description="JSON list of SHA-256 digests (hex) of accepted API keys; empty accepts all",
    )
    rate_limit_per_s: float = Field(
        default=0.0,
        ge=0,
        description="images a second of one client (API key, else address); beyond it, 429; "
        "0: no limit",
    )
    rate_limit_burst: int = Field(
        default=20, ge=1, description="images that a client may send at once under the rate limit"
    )
    cors_origins: list[str] = Field(
        default=[],
        description="JSON list of origins whose pages may use the service from a browser",
    )
    trusted_proxies: str = Field(
        default="127.0.0.1",
        description="addresses or networks, by commas, whose X-Forwarded-For is believed; * is all",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="processes that share the port; the cores are divided among them",
    )
    linger_s: float = Field(
        default=0.0,
        ge=0,
        description="time after SIGTERM in which /readyz says draining and all work is still "
        "taken, so that a load balancer notices before anything is refused",
    )
    drain_s: float = Field(default=10.0, ge=0, description="time for open work after that")


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this environment; ConfigurationError for unknown or invalid ones."""
    names = os.environ if environment is None else environment
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(n for n in names if n.upper().startswith(PREFIX) and n.upper() not in known)
    if unknown:
        raise ConfigurationError(
            f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    _check_lists(names)
    try:
        return Settings()
    except ValidationError as error:
        path, text = first_of(error.errors())
        name = PREFIX + path[0].upper() + "".join(f"[{part}]" for part in path[1:])
        got = "" if path[0] in SECRETS else f", got {error.errors()[0]['input']!r}"
        raise ConfigurationError(f"{name}: {text}{got}") from None


def _check_lists(environment: Mapping[str, str]) -> None:
    """ConfigurationError for a list that is none; its value may be a secret and is not repeated."""
    given = {name.upper(): value for name, value in environment.items()}
    for field, info in Settings.model_fields.items():
        name = PREFIX + field.upper()
        if get_origin(info.annotation) is list and name in given and not _is_list(given[name]):
            raise ConfigurationError(f'{name}: a JSON list is expected, such as ["…"]')


def _is_list(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False

"""The engine, the image built on it, the project started from it; skipped where there is none."""

from collections.abc import Iterator

import pytest

from tests.engine import docker
from tests.engine.compose import Compose, images, running


@pytest.fixture(scope="session")
def engine() -> str:
    """The engine's version; without one, tests are skipped."""
    reason = docker.why_not()
    if reason is not None:
        pytest.skip(reason)
    return docker.docker("version", "--format", "{{.Server.Version}}")


@pytest.fixture(scope="session")
def image(engine: str) -> str:
    """The image for CPUs, built now from the project's folder; its name in the Compose file."""
    name = images()["atpn"]
    print(f"engine {engine} builds {name}")  # noqa: T201
    try:
        docker.build("cpu", name)
    except docker.ImageMissing as missing:
        pytest.skip(f"no image {missing} here, and none can be pulled")
    return name


@pytest.fixture(scope="session")
def compose(image: str) -> Iterator[Compose]:
    """`docker compose up`, healthy."""
    for needed in (image, images()["proxy"], images()["redis"]):
        if not docker.at_hand(needed):
            pytest.skip(f"no image {needed} here, and none can be pulled")
    with running() as started:
        yield started

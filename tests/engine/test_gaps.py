"""How long a hundred streams wait when their replica's container is killed."""

import pytest

from tests.engine.compose import Compose
from tests.engine.docker import docker
from tests.gaps import ADDED_MS, STREAMS, gaps

pytestmark = pytest.mark.engine


async def test_the_worst_of_a_hundred_streams_waits_half_a_second_for_a_killed_container(
    compose: Compose,
) -> None:
    """Its address goes with it and answers nothing any more, not even that nobody listens."""
    killed = []

    def kill() -> None:
        killed.append(compose.busiest())
        docker("kill", killed[0])

    found = await gaps(compose.url, kill)
    docker("start", killed[0])
    compose.wait_well()
    print(found)  # noqa: T201
    assert len(found.resumed) >= STREAMS // 4
    if found.busy:
        pytest.skip(f"the machine is too busy to tell: {found}")
    assert found.added_ms < ADDED_MS

"""How long a hundred streams wait when their replica is killed: shipped client, real proxy."""

import pytest

from tests.deploy.stack import Stack
from tests.gaps import ADDED_MS, STREAMS, gaps


@pytest.mark.long
async def test_the_worst_of_a_hundred_streams_waits_half_a_second_for_a_killed_replica(
    stack: Stack,
) -> None:
    def kill() -> None:
        home, _ = max(stack.open_streams().items(), key=lambda item: item[1])
        stack.replicas[home].kill()

    found = await gaps(f"http://127.0.0.1:{stack.proxy}", kill)
    print(found)  # noqa: T201
    assert len(found.resumed) >= STREAMS // 4
    if found.busy:
        pytest.skip(f"the machine is too busy to tell: {found}")
    assert found.added_ms < ADDED_MS

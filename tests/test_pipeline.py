"""Jobs that wait share runs of the network, and nothing else."""

import asyncio

import numpy as np
import pytest

from atpn.engine.lanes import Priority
from atpn.geometry import Image
from tests.conftest import FakeService, FakeServiceFactory, png, until

BOX = "[[10, 10, 40, 40]]"


def coloured(value: int) -> bytes:
    """A picture of one grey."""
    return png(np.full((64, 64, 3), value, np.uint8))


async def crowd(fake: FakeService, *asked: tuple[str, bytes]) -> list[int]:
    """The statuses of requests that wait for a busy network together, in order."""
    fake.network.gate.clear()
    first = [asyncio.create_task(fake.post(f"/align?boxes={BOX}", coloured(0))) for _ in range(2)]
    await until(lambda: len(fake.network.batches) == 2)  # all threads wait in the model
    others = [asyncio.create_task(fake.post(path, data)) for path, data in asked]
    queue = fake.core.pipeline._jobs._queue
    await until(lambda: queue.count(Priority.PHOTO) == len(asked))
    fake.network.gate.set()
    answers = await asyncio.gather(*first, *others)
    return [answer.status_code for answer in answers][2:]


async def test_photographs_that_wait_share_runs(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service(on_cpu=True, threads=1)
    path = f"/align?boxes={BOX}"
    assert await crowd(fake, *((path, coloured(20 * i)) for i in range(1, 9))) == [200] * 8
    sizes = [len(batch) for batch in fake.network.batches][2:]
    assert sum(sizes) == 8
    assert 2 <= max(sizes) <= 4
    shown = sorted(int(crop[56, 56, 0]) for batch in fake.network.batches[2:] for crop in batch)
    assert shown == [20 * i for i in range(1, 9)]


async def test_one_that_waits_alone_is_not_held_up(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service(on_cpu=True, threads=1)
    assert await crowd(fake, (f"/align?boxes={BOX}", coloured(9))) == [200]
    assert [len(batch) for batch in fake.network.batches] == [1, 1, 1]


async def test_each_fails_alone(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service(on_cpu=True, threads=1)

    def fails(crop: Image) -> bool:
        return bool(crop[56, 56, 0] == 60)

    fake.network.fails_on = fails
    path = f"/align?boxes={BOX}"
    asked = [(path, coloured(20 * i)) for i in range(1, 9)]
    asked[4] = (path, b"no picture at all")
    asked[5] = ("/align?boxes=[[900, 900, 990, 990]]", coloured(120))
    assert await crowd(fake, *asked) == [200, 200, 500, 200, 422, 422, 200, 200]


async def test_who_wants_no_pose_shares_no_run_with_who_does(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service(on_cpu=True, threads=1)
    paths = [f"/{end}boxes={BOX}" for end in ("align?", "pose?", "align?", "pose?")]
    assert await crowd(fake, *((path, coloured(50)) for path in paths)) == [200] * 4
    shared = zip(fake.network.batches, fake.network.posed, strict=True)
    assert sum(len(batch) for batch, posed in shared if posed) == 2


async def test_a_run_has_no_more_faces_than_a_batch(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service(on_cpu=True, threads=1, max_batch_size=6)
    boxes = "[[10, 10, 40, 40], [20, 20, 50, 50]]"
    path = f"/align?boxes={boxes}"
    assert await crowd(fake, *((path, coloured(20 * i)) for i in range(1, 9))) == [200] * 8
    sizes = [len(batch) for batch in fake.network.batches[2:]]
    assert sum(sizes) == 16
    assert max(sizes) == 6


@pytest.mark.parametrize("quality", ["normal", "best"])
async def test_faces_of_each_photograph_are_its_own(
    quality: str, fake_service: FakeServiceFactory
) -> None:
    fake = await fake_service(on_cpu=True, threads=1, second_look=False)
    boxes = ["[[10, 10, 40, 40]]", "[[0, 0, 20, 20], [30, 30, 60, 60]]", "[]", "[[5, 5, 60, 60]]"]
    fake.network.gate.clear()
    asked = [
        asyncio.create_task(fake.post(f"/align?quality={quality}&boxes={box}", coloured(1)))
        for box in boxes * 2
    ]
    await until(lambda: len(fake.network.batches) == 2)
    fake.network.gate.set()
    answers = [(await answer).json() for answer in asked]
    assert [len(answer["faces"]) for answer in answers] == [1, 2, 0, 1] * 2
    assert answers[:4] != answers[1:5]
    assert [a["faces"] for a in answers[:4]] == [a["faces"] for a in answers[4:]]

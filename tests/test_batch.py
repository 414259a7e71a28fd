"""POST /align/batch: several images in one call."""

import asyncio
from typing import Any

import msgpack
import pytest

from atpn.api import align
from atpn.faces.photographs import Seen, look_at
from tests.conftest import FakeServiceFactory, Service, one_colour, until


def form(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """The parts of a form that repeats the field ``image``."""
    return [("image", (f"{i}.png", image)) for i, image in enumerate(images)]


async def test_results_come_in_the_order_of_the_images(
    service: Service, astronaut_jpeg: bytes, small_png: bytes
) -> None:
    images = [small_png, astronaut_jpeg, small_png, astronaut_jpeg]
    answer = await service.client.post("/align/batch?points=5", files=form(*images))
    alone = (await service.post("/align?points=5", astronaut_jpeg)).json()
    results = answer.json()["results"]
    assert [len(result["faces"]) for result in results] == [0, 1, 0, 1]
    assert [r["image"]["width"] for r in results] == [64, 512, 64, 512]
    assert results[1]["faces"] == alone["faces"]


async def test_a_bad_image_is_an_error_in_its_place(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    images = [small_png, b"no image", small_png[:50], small_png]
    answer = await service.client.post("/align/batch", files=form(*images))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert ["error" in result for result in results] == [False, True, True, False]
    assert results[1]["error"]["code"] == "invalid_image"
    assert results[2]["error"]["code"] == "invalid_image"
    metrics = (await service.client.get("/metrics")).text
    assert 'atpn_errors_total{code="invalid_image"} 2.0' in metrics


async def test_an_image_that_the_model_fails_on_fails_alone(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    service.network.fails_on = lambda crop: bool(crop.mean() > 200)
    images = [small_png, one_colour(255, 255, 255), small_png]
    answer = await service.client.post("/align/batch", files=form(*images))
    results = answer.json()["results"]
    assert [r.get("error", {}).get("code") for r in results] == [None, "inference_failed", None]


async def test_an_unforeseen_failure_is_told_in_its_place_and_the_others_are_answered(
    fake_service: FakeServiceFactory, small_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await fake_service()
    seen: list[Any] = []

    async def failing(*arguments: Any) -> Seen:
        seen.append(arguments)
        if len(seen) == 2:
            raise MemoryError
        return await look_at(*arguments)

    monkeypatch.setattr(align, "look_at", failing)
    answer = await service.client.post("/align/batch", files=form(*[small_png] * 3))
    results = answer.json()["results"]
    assert [r.get("error", {}).get("code") for r in results] == [None, "internal", None]


async def test_what_is_not_done_in_time_is_a_late_image_not_a_late_call(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    service.network.gate.clear()
    answer = await service.client.post(
        "/align/batch", files=form(small_png, small_png), headers={"X-Request-Timeout": "0.2"}
    )
    service.network.gate.set()
    codes = [result["error"]["code"] for result in answer.json()["results"]]
    assert codes == ["deadline_exceeded"] * 2


async def test_a_batch_may_be_answered_in_msgpack(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    answer = await service.client.post(
        "/align/batch", files=form(small_png), headers={"accept": "application/msgpack"}
    )
    assert len(msgpack.unpackb(answer.content)["results"]) == 1


@pytest.mark.parametrize(
    ("parts", "status", "word"),
    [
        ([], 415, "multipart/form-data"),
        ([("picture", ("a.png", b"x"))], 422, "picture"),
        (form(*[b"x"] * 4), 422, "files"),
        ([("image", (None, b"x"))], 422, "file name"),
    ],
)
async def test_a_form_that_is_wrong_as_a_whole_is_refused(
    fake_service: FakeServiceFactory, parts: list[object], status: int, word: str
) -> None:
    service = await fake_service(max_batch_images=3)
    answer = await service.client.post("/align/batch", files=parts)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert word in answer.json()["detail"]


async def test_a_batch_of_more_bytes_than_its_limit_is_refused(
    fake_service: FakeServiceFactory,
) -> None:
    service = await fake_service(max_batch_bytes=2000)
    answer = await service.client.post("/align/batch", files=form(bytes(3000)))
    assert answer.status_code == 413


async def test_a_single_image_overtakes_a_batch_that_waits(
    fake_service: FakeServiceFactory,
) -> None:
    """Eight images of a batch are queued two at a time; one photo does not wait for them all."""
    service = await fake_service(max_batch_size=1)
    service.network.gate.clear()
    batch = asyncio.create_task(
        service.client.post("/align/batch", files=form(*[one_colour(0, 0, 0)] * 8))
    )
    await until(lambda: service.core.pipeline.waiting)
    photo = asyncio.create_task(service.post("/align", one_colour(255, 255, 255)))
    await until(lambda: service.core.pipeline.waiting >= 2)
    service.network.gate.set()
    assert (await photo).status_code == 200
    seen = [bool(crops.mean() > 20) for crops in service.network.batches]
    await batch
    assert True in seen[:2]

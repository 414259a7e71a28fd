"""The Open Inference Protocol: the public Triton client works unchanged, bad requests are named."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skimage.data
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from atpn.engine.oip_tensors import MOST_AS_NUMBERS
from atpn.geometry import Box, Image, crop, roi_from_detection
from tests.conftest import FakeServiceFactory, Service
from tests.server import Server, running

FACE = Box(172, 58, 274, 190)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A real service process: the Triton client has its own HTTP stack."""
    with running() as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    """The public client, as anyone would use it."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def crops() -> Image:
    """Three crops of one face, slightly moved."""
    photo: Image = skimage.data.astronaut()
    boxes = [Box(FACE.x0 + d, FACE.y0, FACE.x1 + d, FACE.y1) for d in (0, 4, 8)]
    return np.stack([crop(photo, roi_from_detection(box)) for box in boxes])


def asked(crops: Image, binary: bool) -> list[triton.InferInput]:
    tensor = triton.InferInput("image", list(crops.shape), "UINT8")
    tensor.set_data_from_numpy(crops, binary_data=binary)
    return [tensor]


def test_the_triton_client_finds_the_server_and_the_model_ready(
    client: triton.InferenceServerClient,
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("atpn")
    assert client.is_model_ready("atpn", "1")


def test_the_triton_client_reads_the_metadata(client: triton.InferenceServerClient) -> None:
    assert client.get_server_metadata()["name"] == "atpn"
    metadata = client.get_model_metadata("atpn")
    assert metadata["inputs"] == [
        {"name": "image", "datatype": "UINT8", "shape": [-1, 112, 112, 3]}
    ]
    assert [o["name"] for o in metadata["outputs"]] == ["landmarks", "pose", "confidence"]


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_the_triton_client_gets_the_same_numbers_in_every_encoding(
    client: triton.InferenceServerClient, crops: Image, binary_input: bool, binary_output: bool
) -> None:
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary_output)
        for name in ("landmarks", "pose", "confidence")
    ]
    plain = client.infer("atpn", asked(crops, True))
    answer = client.infer("atpn", asked(crops, binary_input), outputs=outputs)
    for name, shape in {"landmarks": (3, 98, 2), "pose": (3, 3), "confidence": (3,)}.items():
        assert answer.as_numpy(name).shape == shape
        np.testing.assert_allclose(answer.as_numpy(name), plain.as_numpy(name), atol=1e-5)


def test_a_crop_gets_the_same_landmarks_by_the_protocol_as_by_align(
    client: triton.InferenceServerClient, crops: Image
) -> None:
    alone = client.infer("atpn", asked(crops[:1], True)).as_numpy("landmarks")
    together = client.infer("atpn", asked(crops, True)).as_numpy("landmarks")
    np.testing.assert_allclose(alone[0], together[0], atol=1e-4)


def test_the_triton_client_is_told_what_is_wrong(
    client: triton.InferenceServerClient, crops: Image
) -> None:
    with pytest.raises(InferenceServerException, match="unknown model 'other'"):
        client.get_model_metadata("other")
    with pytest.raises(InferenceServerException, match="is expected"):
        client.infer("atpn", asked(crops[:, :100], True))


def body(**changes: Any) -> dict[str, Any]:
    """A valid JSON request of one black crop, with changes to its input."""
    black = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, 112, 112, 3],
        "data": [0] * (112 * 112 * 3),
    }
    return {"inputs": [{**black, **changes}]}


@pytest.mark.parametrize(
    ("request_body", "named"),
    [
        ([], "inputs"),
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [1]}, "inputs"),
        (body(name="other"), "name"),
        (body(datatype="FP32"), "datatype"),
        (body(shape=[1, 3, 112, 112]), "shape"),
        (body(shape=[0, 112, 112, 3]), "shape"),
        (body(shape=[-1, 112, 112, 3]), "shape"),
        (body(shape=[True, 112, 112, 3]), "shape"),
        (body(shape="x"), "shape"),
        (body(data=[1, 2, 3]), "data"),
        (body(data=None), "data"),
        (body(data=["a"] * (112 * 112 * 3)), "data"),
        (body(data=[256] * (112 * 112 * 3)), "data"),
        (body(data=[0.5] * (112 * 112 * 3)), "data"),
        (body(parameters={"binary_data_size": 5}), "bytes are expected"),
        (body(parameters=[]), "parameters"),
        ({**body(), "outputs": [{"name": "smell"}]}, "outputs"),
        ({**body(), "outputs": "landmarks"}, "outputs"),
        ({**body(), "outputs": [{"name": []}]}, "outputs"),  # found by fuzzing
        ({**body(), "outputs": [{"name": "pose"}, {"name": "pose"}]}, "once"),
    ],
)
async def test_a_bad_inference_request_names_what_is_wrong(
    service: Service, request_body: object, named: str
) -> None:
    answer = await service.client.post(
        "/v2/models/atpn/infer", content=json.dumps(request_body).encode()
    )
    assert answer.status_code == 422
    assert named in answer.json()["error"]
    assert answer.json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    "length", [b"-1", b"x", b"99999999", "²".encode("latin-1"), b"9" * 5000, b"1_0", b" 7 7"]
)
async def test_a_wrong_header_length_is_refused(service: Service, length: bytes) -> None:
    answer = await service.client.post(
        "/v2/models/atpn/infer",
        content=json.dumps(body()).encode(),
        headers={b"Inference-Header-Content-Length": length},
    )
    assert answer.status_code == 422
    assert "length" in answer.json()["error"]


async def test_outputs_come_in_the_order_they_were_asked_for(service: Service) -> None:
    outputs = [{"name": "confidence"}, {"name": "pose"}]
    request = {**body(), "id": "seven", "outputs": outputs}
    answer = await service.client.post("/v2/models/atpn/versions/1/infer", json=request)
    assert [o["name"] for o in answer.json()["outputs"]] == ["confidence", "pose"]
    assert answer.json()["id"] == "seven"


@pytest.mark.parametrize(("crops", "status"), [(MOST_AS_NUMBERS, 200), (MOST_AS_NUMBERS + 1, 422)])
async def test_many_crops_come_as_bytes_for_reading_numbers_holds_up_everybody(
    fake_service: FakeServiceFactory, crops: int, status: int
) -> None:
    fake = await fake_service()
    shape = [crops, 112, 112, 3]
    numbers = body(shape=shape, data=[7] * (crops * 112 * 112 * 3))
    answer = await fake.client.post("/v2/models/fake/infer", json=numbers)
    assert answer.status_code == status
    head = body(shape=shape, parameters={"binary_data_size": crops * 112 * 112 * 3})
    del head["inputs"][0]["data"]
    text = json.dumps(head).encode()
    answer = await fake.client.post(
        "/v2/models/fake/infer",
        content=text + bytes(crops * 112 * 112 * 3),
        headers={"Inference-Header-Content-Length": str(len(text))},
    )
    assert answer.status_code == 200


async def test_every_crop_counts_for_the_rate(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service(rate_limit_per_s=0.01, rate_limit_burst=4)
    crops = body(shape=[3, 112, 112, 3], data=[7] * (3 * 112 * 112 * 3))
    url = "/v2/models/fake/infer"
    statuses = [(await fake.client.post(url, json=each)).status_code for each in (crops, body())]
    assert statuses == [200, 200]
    assert (await fake.client.post(url, json=body())).status_code == 429


async def test_a_version_that_is_replaced_while_the_body_comes_is_not_answered_by_another(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service()
    network = fake.network

    async def slow() -> AsyncIterator[bytes]:
        text = json.dumps(body()).encode()
        yield text[:100]
        network.model = replace(network.model, version="2")
        yield text[100:]

    answer = await fake.client.post("/v2/models/fake/versions/1/infer", content=slow())
    assert answer.status_code == 404


async def test_a_version_that_is_replaced_while_its_crops_wait_is_not_answered_by_another(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service()
    fake.network.gate.clear()
    url = "/v2/models/fake/versions/1/infer"
    asked = asyncio.create_task(fake.client.post(url, json=body()))
    while not fake.network.batches:
        await asyncio.sleep(0.005)
    fake.network.model = replace(fake.network.model, version="2")
    fake.network.gate.set()
    assert (await asked).status_code == 404


async def test_a_single_crop_is_paid_for_at_the_gate_alone(
    fake_service: FakeServiceFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the client has spent meanwhile."""
    fake = await fake_service(rate_limit_per_s=0.01, rate_limit_burst=4)
    url = "/v2/models/fake/infer"
    limiter = fake.core.limiter
    allowed = limiter.take

    def take(client: str, count: int = 1, *, paid: int = 0) -> None:
        allowed(client, count, paid=paid)
        if count == 1 and not paid:  # behind the gate: another request of the client is dearer
            allowed(client, 20, paid=1)

    monkeypatch.setattr(limiter, "take", take)
    assert (await fake.client.post(url, json=body())).status_code == 200


@pytest.mark.parametrize("nested", [True, False])
async def test_millions_of_numbers_are_refused_before_they_are_parsed(
    fake_service: FakeServiceFactory, nested: bool
) -> None:
    fake = await fake_service()
    data = ("[]," if nested else "7,") * 3_000_000
    text = b'{"inputs": [{"data": [' + data.encode() + b"7]}]}"
    head = {"Inference-Header-Content-Length": str(len(text))}
    began = time.process_time()
    answer = await fake.client.post("/v2/models/fake/infer", content=text, headers=head)
    assert answer.status_code == 422
    assert "32 crops" in answer.json()["error"]
    assert time.process_time() - began < 0.3


async def test_crops_of_the_protocol_share_batches_with_other_requests(
    fake_service: FakeServiceFactory,
) -> None:
    fake = await fake_service()
    fake.network.gate.clear()
    url = "/v2/models/fake/infer"
    first = asyncio.create_task(fake.client.post(url, json=body()))
    while not fake.network.batches:
        await asyncio.sleep(0.005)
    others = [asyncio.create_task(fake.client.post(url, json=body())) for _ in range(3)]
    while fake.core.pipeline.waiting < 3:
        await asyncio.sleep(0.005)
    fake.network.gate.set()
    assert {r.status_code for r in await asyncio.gather(first, *others)} == {200}
    assert [len(batch) for batch in fake.network.batches] == [1, 3]

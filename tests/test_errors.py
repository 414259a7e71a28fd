"""Everything that can go wrong with a request is a problem document with a stable code."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.types import Message, Scope

from atpn.api.deadlines import unless_gone
from atpn.errors import AtpnError, ClientGone
from atpn.geometry import Image
from tests.conftest import FakeService, FakeServiceFactory, one_colour, until
from tests.test_images import empty_png

KEY = "correct horse"
KEY_HASH = hashlib.sha256(KEY.encode()).hexdigest()
FIELDS = {"type", "title", "status", "detail", "code", "request_id"}


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a whole problem document; returns it."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == FIELDS
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


def all_errors() -> list[type[AtpnError]]:
    """Every class of error that can be answered."""
    found = [AtpnError]
    for error in found:  # and theirs, as they are found
        found += error.__subclasses__()
    return found


@asynccontextmanager
async def busy(fake: FakeService, image: bytes) -> AsyncIterator[None]:
    """The model works on one face until the block ends; then that face is answered."""
    fake.network.gate.clear()
    ran = len(fake.network.batches)
    first = asyncio.create_task(fake.post("/align", image))
    await until(lambda: len(fake.network.batches) > ran)
    try:
        yield
    finally:
        fake.network.gate.set()
        assert (await first).status_code == 200


def dropped(fake: FakeService, reason: str) -> float:
    """How many faces left the queue without being run."""
    value = fake.core.metrics.registry.get_sample_value(
        "atpn_dropped_faces_total", {"reason": reason}
    )
    return value or 0.0


def test_codes_are_unique() -> None:
    codes = [error.code for error in all_errors()]
    assert "too_many_streams" in codes
    # A family has the code of the case that it is made for.
    families = {"invalid_request": 2, "overloaded": 2}
    assert {code: codes.count(code) for code in codes if codes.count(code) > 1} == families


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("image/jpeg", b"", 422, "invalid_image"),
        ("image/jpeg", b"this is a text", 422, "invalid_image"),
        ("image/png", empty_png(10, 10)[:-20], 422, "invalid_image"),
        ("image/jpeg", b"GIF89a" + bytes(20), 415, "unsupported_media_type"),
        ("text/plain", b"this is a text", 415, "unsupported_media_type"),
        ("image/jpeg", bytes(200_001), 413, "too_many_bytes"),
        ("image/png", empty_png(30_000, 30_000), 413, "too_many_pixels"),
        ("application/json", b"{}", 422, "invalid_request"),
    ],
)
@pytest.mark.parametrize("path", ["/align", "/pose"])
async def test_bad_input_is_a_problem_document(
    path: str, kind: str, body: bytes, status: int, code: str, fake_service: FakeServiceFactory
) -> None:
    fake = await fake_service(max_body_bytes=200_000)
    answer = await fake.client.post(path, content=body, headers={"content-type": kind})
    assert_problem(answer, status, code)
    assert fake.network.batches == []


@pytest.mark.parametrize(
    "query",
    [
        "max_faces=0",
        "max_faces=many",
        "min_confidence=1.5",
        "min_confidence=nan",
        "points=6",
        "include=everything",
    ],
)
async def test_a_bad_parameter_is_named(
    query: str, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    problem = assert_problem(await fake.post(f"/align?{query}", small_png), 422, "invalid_request")
    assert query.partition("=")[0] in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/align/more", 404, "not_found"),
        ("GET", "/align", 405, "method_not_allowed"),
        ("DELETE", "/pose", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_the_frameworks_own_errors_are_problem_documents(
    method: str, path: str, status: int, code: str, fake_service: FakeServiceFactory
) -> None:
    fake = await fake_service()
    answer = await fake.client.request(method, path)
    assert_problem(answer, status, code)


async def test_a_wrong_method_is_told_the_right_one(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service()
    assert (await fake.client.get("/align")).headers["allow"] == "POST"


async def test_a_request_id_is_given_back(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    good = await fake.post("/align", small_png, x_request_id="mine-1")
    bad = await fake.post("/align", b"", x_request_id="mine-2")
    assert good.headers["x-request-id"] == "mine-1"
    assert bad.json()["request_id"] == bad.headers["x-request-id"] == "mine-2"


@pytest.mark.parametrize("given", ["", "x" * 65, "tab\there", "caf\xe9"])
async def test_a_request_id_that_is_long_or_unprintable_is_replaced(
    given: str, fake_service: FakeServiceFactory
) -> None:
    fake = await fake_service()
    headers = {"x-request-id": given.encode("latin-1")}
    answer = await fake.client.get("/healthz", headers=headers)  # type: ignore[arg-type]
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


async def test_every_request_has_an_id_of_its_own(fake_service: FakeServiceFactory) -> None:
    fake = await fake_service()
    ids = {(await fake.client.get("/healthz")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


async def test_a_full_queue_refuses_with_the_time_to_wait(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(max_queue_faces=2)
    async with busy(fake, small_png):
        waiting = asyncio.create_task(fake.post("/align", small_png))
        await until(lambda: fake.core.pipeline.waiting == 1)
        boxes = [[8, 8, 40, 40]] * 2
        refused = await fake.post_boxes("/align", small_png, boxes)
    assert_problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await waiting).status_code == 200
    assert sum(len(batch) for batch in fake.network.batches) == 2


async def test_a_deadline_that_passes_is_answered_and_the_work_is_dropped(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    async with busy(fake, small_png):
        late = await fake.post("/align", small_png, x_request_timeout="0.1")
    assert_problem(late, 504, "deadline_exceeded")
    assert (await fake.post("/align", small_png)).status_code == 200
    assert sum(len(batch) for batch in fake.network.batches) == 2
    assert (dropped(fake, "cancelled"), dropped(fake, "deadline")) == (0, 1)


async def test_a_deadline_of_the_setting_needs_no_header(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(request_timeout_s=0.1)
    fake.network.gate.clear()
    assert_problem(await fake.post("/align", small_png), 504, "deadline_exceeded")


async def test_a_request_cannot_ask_for_a_longer_deadline_than_the_setting(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(request_timeout_s=0.1)
    fake.network.gate.clear()
    async with asyncio.timeout(5):
        late = await fake.post("/align", small_png, x_request_timeout="60")
    assert_problem(late, 504, "deadline_exceeded")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon", "", "1 s"])
async def test_a_deadline_that_is_no_positive_number_is_refused(
    seconds: str, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    answer = await fake.post("/align", small_png, x_request_timeout=seconds)
    problem = assert_problem(answer, 422, "invalid_request")
    assert "X-Request-Timeout" in problem["detail"]


@pytest.mark.parametrize("seconds", ["5", "0.5", "1e1", "inf"])
async def test_a_deadline_may_be_any_positive_number(
    seconds: str, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    answer = await fake.post("/align", small_png, x_request_timeout=seconds)
    assert answer.status_code == 200


class Caller:
    """A client at the ASGI interface, which can hang up in the middle of a request."""

    def __init__(self, body: bytes) -> None:
        self._body: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._gone = asyncio.Event()
        self.sent: list[Message] = []

    async def post(self, fake: FakeService, path: str) -> None:
        """Return when the service has nothing left to do for the request."""
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"image/png")],
        }
        await fake.app(scope, self._receive, self._send)

    def hang_up(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def _receive(self) -> Message:
        if self._body:
            return self._body.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def test_the_work_of_a_client_who_hangs_up_never_reaches_the_model(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    async with busy(fake, small_png):
        caller = Caller(small_png)
        request = asyncio.create_task(caller.post(fake, "/align"))
        await until(lambda: fake.core.pipeline.waiting == 1)
        caller.hang_up()
        await asyncio.wait_for(request, 5)  # while the model still works on the first
    assert (await fake.post("/align", small_png)).status_code == 200
    assert sum(len(batch) for batch in fake.network.batches) == 2
    assert dropped(fake, "cancelled") == 1


async def test_a_client_who_stays_is_answered_at_the_same_interface(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    caller = Caller(small_png)
    await caller.post(fake, "/align")
    assert caller.sent[0]["status"] == 200


async def test_a_client_who_hangs_up_is_counted_and_no_failure(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    async with busy(fake, small_png):
        caller = Caller(small_png)
        caller.hang_up()
        await asyncio.wait_for(caller.post(fake, "/align"), 5)
    registry = fake.core.metrics.registry
    assert registry.get_sample_value("atpn_errors_total", {"code": "client_gone"}) == 1
    assert registry.get_sample_value("atpn_errors_total", {"code": "internal"}) is None


async def test_the_work_of_a_client_who_hangs_up_has_ended_when_that_is_told() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ended.append("work")

    async def hang_up() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await unless_gone(Request({"type": "http"}, hang_up), work())
    assert ended == ["work"]


@pytest.mark.parametrize("path", ["/align", "/pose"])
async def test_a_service_that_shuts_down_refuses_new_work(
    path: str, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    fake.core.draining.set()
    refused = await fake.post(path, small_png)
    assert_problem(refused, 503, "shutting_down")
    assert int(refused.headers["retry-after"]) >= 1


async def test_open_requests_are_answered_while_the_service_shuts_down(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    async with busy(fake, small_png):  # which sees that its request is answered
        fake.core.draining.set()


async def test_without_keys_everybody_is_served(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(api_key_hashes=[])
    assert (await fake.post("/align", small_png)).status_code == 200


@pytest.fixture
async def locked(fake_service: FakeServiceFactory) -> FakeService:
    """A service that accepts one key, and another that nobody here knows."""
    return await fake_service(api_key_hashes=["0" * 64, KEY_HASH.upper()])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", f"Bearer {KEY}"),
        ("authorization", f"bearer {KEY}"),
        ("x_api_key", KEY),
    ],
)
async def test_either_header_may_carry_the_key(
    name: str, value: str, locked: FakeService, small_png: bytes
) -> None:
    answer = await locked.post("/align", small_png, **{name: value})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "wrong"},
        {"x_api_key": KEY_HASH},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
    ],
)
async def test_without_the_right_key_nothing_is_read_and_nothing_is_run(
    headers: dict[str, str], locked: FakeService, small_png: bytes
) -> None:
    answer = await locked.post("/align", small_png, **headers)
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.network.batches == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"])
async def test_probes_and_documentation_need_no_key(path: str, locked: FakeService) -> None:
    assert (await locked.client.get(path)).status_code == 200


async def test_a_key_is_asked_for_before_it_is_told_what_exists(locked: FakeService) -> None:
    assert_problem(await locked.client.get("/nothing"), 401, "unauthorized")


def is_red(crop: Image) -> bool:
    """The crop that the model is told to fail on."""
    red, green, _ = crop[56, 56]
    return bool(red > 200 and green < 50)


async def test_a_face_that_the_model_fails_on_fails_alone_in_its_batch(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    fake.network.fails_on = is_red
    pictures = [one_colour(0, 255, 0), one_colour(255, 0, 0), one_colour(0, 0, 255)]
    async with busy(fake, small_png):
        tasks = [asyncio.create_task(fake.post("/align", picture)) for picture in pictures]
        await until(lambda: fake.core.pipeline._batches.waiting == 3)  # decoded, all of them
    green, red, blue = await asyncio.gather(*tasks)
    assert [len(batch) for batch in fake.network.batches] == [1, 3, 1, 1, 1]
    assert (green.status_code, blue.status_code) == (200, 200)
    assert_problem(red, 500, "inference_failed")
    assert "private" not in red.text


class Unforeseen(Exception):
    """An error that no code expects."""


async def test_an_unforeseen_error_tells_nothing_of_the_inside_but_to_the_log(
    fake_service: FakeServiceFactory, small_png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fake = await fake_service()
    fake.detector.failure = Unforeseen("/secret/path")
    answer = await fake.post("/align", small_png, x_request_id="mine")
    assert_problem(answer, 500, "internal")
    for word in ("secret", "Unforeseen", "Traceback"):
        assert word not in answer.text
        assert word in caplog.text
    failed = next(r for r in caplog.records if r.exc_info)
    assert vars(failed)["request_id"] == "mine"


async def test_the_service_goes_on_after_an_unforeseen_error(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    fake.detector.failure = Unforeseen()
    assert (await fake.post("/align", small_png)).status_code == 500
    fake.detector.failure = None
    assert (await fake.post("/align", small_png)).status_code == 200

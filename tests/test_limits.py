"""Rate limits, and which pages a browser may use the service from."""

import hashlib
import json

import httpx
import pytest
from websockets.asyncio.client import connect

from atpn import limits
from atpn.api.auth import check_origin
from atpn.errors import ForbiddenOrigin, RateLimited
from atpn.limits import RateLimiter
from tests.conftest import FakeServiceFactory
from tests.server import running
from tests.test_batch import form


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(limiter: RateLimiter, client: str, tries: int) -> int:
    """How many of so many tries are let through."""
    through = 0
    for _ in range(tries):
        try:
            limiter.take(client)
        except RateLimited:
            continue
        through += 1
    return through


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 5, clock)
    assert taken(limiter, "a", 20) == 5
    clock.now += 1.5
    assert taken(limiter, "a", 20) == 3
    clock.now += 1000
    assert taken(limiter, "a", 20) == 5


def test_one_client_does_not_use_up_anothers_share() -> None:
    limiter = RateLimiter(1, 2, Clock())
    assert taken(limiter, "a", 9) == 2
    assert taken(limiter, "b", 9) == 2


def test_no_rate_is_no_limit() -> None:
    assert taken(RateLimiter(0, 1, Clock()), "a", 100) == 100


def test_the_refusal_says_when_to_come_back() -> None:
    clock = Clock()
    limiter = RateLimiter(0.5, 1, clock)
    limiter.take("a")
    with pytest.raises(RateLimited) as refused:
        limiter.take("a")
    assert refused.value.retry_after_s == pytest.approx(2)
    clock.now += 2
    limiter.take("a")


def test_a_batch_larger_than_the_burst_is_paid_off_afterwards() -> None:
    clock = Clock()
    limiter = RateLimiter(1, 4, clock)
    limiter.take("a", 10)
    clock.now += 6
    assert taken(limiter, "a", 1) == 0
    clock.now += 1
    assert taken(limiter, "a", 5) == 1


def test_a_crowd_of_clients_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_CLIENTS", 100)
    limiter = RateLimiter(1, 1, Clock())
    for i in range(1000):
        limiter.take(f"client {i}")
    assert len(limiter._buckets) == 100


async def test_a_client_over_its_rate_gets_429_and_when_to_retry(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service(rate_limit_per_s=0.1, rate_limit_burst=2)
    answers = [await service.post("/align", small_png) for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == "rate_limited"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 10
    assert (await service.client.get("/readyz")).status_code == 200


async def test_every_image_of_a_batch_counts(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service(rate_limit_per_s=0.01, rate_limit_burst=4)
    assert (
        await service.client.post("/align/batch", files=form(*[small_png] * 3))
    ).status_code == 200
    statuses = [(await service.post("/align", small_png)).status_code for _ in range(2)]
    assert statuses == [200, 429]


@pytest.mark.parametrize("burst", [1, 4])
async def test_a_batch_larger_than_the_burst_is_let_through_and_paid_off(
    fake_service: FakeServiceFactory, small_png: bytes, burst: int
) -> None:
    service = await fake_service(rate_limit_per_s=0.01, rate_limit_burst=burst)
    batch = form(*[small_png] * (burst + 2))
    statuses = [
        (await service.client.post("/align/batch", files=batch)).status_code for _ in range(2)
    ]
    assert statuses == [200, 429]


async def test_each_key_has_a_share_of_its_own(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    hashes = [hashlib.sha256(key.encode()).hexdigest() for key in ("a", "b")]
    service = await fake_service(rate_limit_per_s=0.01, rate_limit_burst=1, api_key_hashes=hashes)
    keys = ("a", "a", "b")
    statuses = [(await service.post("/align", small_png, x_api_key=k)).status_code for k in keys]
    assert statuses == [200, 429, 200]


async def test_pages_of_allowed_origins_may_use_the_service(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service(cors_origins=["https://app.example"])
    for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
        answer = await service.post("/align", small_png, origin=origin)
        header = answer.headers.get("access-control-allow-origin")
        assert header == (origin if allowed else None)
    asked = {"origin": "https://app.example", "access-control-request-method": "POST"}
    assert (await service.client.options("/align", headers=asked)).status_code == 200


@pytest.mark.parametrize(
    ("origin", "allowed", "passes"),
    [
        (None, [], True),
        ("http://faces.example:8000", [], True),
        ("https://faces.example:8000", [], True),
        ("https://evil.example", [], False),
        ("https://evil.example", ["https://app.example"], False),
        ("https://app.example", ["https://app.example"], True),
        ("https://evil.example", ["*"], True),
        ("null", [], False),
        ("http://[", [], False),
    ],
)
def test_streams_are_for_pages_of_this_site_and_of_allowed_ones(
    origin: str | None, allowed: list[str], passes: bool
) -> None:
    headers = {"host": "faces.example:8000"} | ({} if origin is None else {"origin": origin})
    if passes:
        check_origin(allowed, headers)
    else:
        with pytest.raises(ForbiddenOrigin):
            check_origin(allowed, headers)


async def test_a_stream_from_another_site_is_refused_and_so_is_one_over_the_rate() -> None:
    with running(rate_limit_per_s="0.01", rate_limit_burst="1") as server:
        for origin, code, reason in (
            ("https://evil.example", 1008, "forbidden_origin"),
            (None, None, None),
            (None, 1013, "rate_limited"),
        ):
            headers = {"Origin": origin} if origin else {}
            async with connect(server.track_url, additional_headers=headers) as socket:
                first = json.loads(await socket.recv())
                if code is None:
                    assert first["type"] == "session"
                    continue
                assert first["code"] == reason
                await socket.wait_closed()
                assert socket.close_code == code


async def test_the_address_behind_a_trusted_proxy_is_the_one_that_is_limited() -> None:
    with running(rate_limit_per_s="0.01", rate_limit_burst="1") as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            statuses = [
                (
                    await client.post("/align", content=b"x", headers={"X-Forwarded-For": address})
                ).status_code
                for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1")
            ]
    assert statuses == [415, 415, 429]

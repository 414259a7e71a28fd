"""Log lines: what went wrong with which request, for people and for machines."""

import json
import logging

import pytest

from atpn.server import JsonLines, TextLines
from tests.conftest import FakeServiceFactory

SECRET = "sesame-of-the-caller"


async def test_a_line_has_the_code_and_the_requests_id_in_both_forms(
    fake_service: FakeServiceFactory, small_png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fake = await fake_service()
    fake.core.draining.set()
    answer = await fake.post("/align", small_png, x_request_id="mine-7", x_api_key=SECRET)
    assert answer.status_code == 503
    [record] = [r for r in caplog.records if r.name == "atpn.http"]
    text = TextLines().format(record)
    assert text.endswith("WARNING atpn.http: POST /align 503 code=shutting_down request_id=mine-7")
    fields = json.loads(JsonLines().format(record))
    assert (fields["code"], fields["request_id"]) == ("shutting_down", "mine-7")
    assert (fields["route"], fields["status"]) == ("/align", 503)
    assert SECRET not in text + json.dumps(fields)


async def test_a_failure_of_ours_is_told_with_its_traceback_and_the_requests_id(
    fake_service: FakeServiceFactory, small_png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fake = await fake_service()
    fake.detector.failure = ZeroDivisionError("as the test wants it")
    assert (await fake.post("/align", small_png, x_request_id="mine-8")).status_code == 500
    first, second = [r for r in caplog.records if r.name == "atpn.http"]
    line, *trace = TextLines().format(first).splitlines()
    assert line.endswith("ERROR atpn.http: request failed request_id=mine-8")
    assert trace[-1].startswith("ZeroDivisionError")
    assert TextLines().format(second).endswith("500 code=internal request_id=mine-8")


async def test_what_is_refused_at_the_gate_is_counted_by_the_route_it_was_for(
    fake_service: FakeServiceFactory, small_png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "atpn.http")
    locked = await fake_service(api_key_hashes=["0" * 64])
    await locked.post("/align", small_png)
    await locked.client.get("/v2/models/some")
    await locked.client.get("/nowhere")
    limited = await fake_service(rate_limit_per_s=0.001, rate_limit_burst=1)
    for _ in range(2):
        await limited.post("/pose", small_png)
    told = [(vars(r)["route"], vars(r)["status"]) for r in caplog.records if r.name == "atpn.http"]
    assert told == [
        ("/align", 401),
        ("/v2/models/{name}", 401),
        ("other", 401),
        ("/pose", 200),
        ("/pose", 429),
    ]
    counted = locked.core.metrics.registry.get_sample_value
    assert counted("atpn_requests_total", {"route": "/align", "status": "401"}) == 1

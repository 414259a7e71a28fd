"""Probes, metrics and documentation: what operators and their tools read."""

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import FakeService, FakeServiceFactory, Service
from tests.stores import free_port


async def scraped(service: Service) -> dict[str, float]:
    """Every sample of /metrics: ``name{label=value,...}`` to its value."""
    answer = await service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": (
            sample.value
        )
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
async def fake(fake_service: FakeServiceFactory) -> FakeService:
    return await fake_service()


async def test_a_process_that_runs_is_alive_even_while_it_drains(fake: FakeService) -> None:
    fake.core.draining.set()
    answer = await fake.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_service_that_is_ready_tells_its_model_and_where_it_runs(
    service: Service,
) -> None:
    answer = await service.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "model": f"atpn/{service.core.model.version}",
        "provider": service.core.provider,
        "store": "memory",
        "streams": 0,
    }


async def test_a_service_that_drains_wants_no_traffic(fake: FakeService) -> None:
    fake.core.draining.set()
    answer = await fake.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "draining"
    for path in ("/v2/health/ready", "/v2/models/fake/ready", "/v2/models/fake/versions/1/ready"):
        answer = await fake.client.get(path)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)


async def test_a_store_that_does_not_answer_is_degraded_but_ready(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(redis_url=f"redis://127.0.0.1:{free_port()}")
    answer = await fake.client.get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["store"]) == ("ready", "degraded")
    assert (await fake.post("/align", small_png)).status_code == 200


async def test_a_store_that_hangs_does_not_hold_up_a_probe(
    fake_service: FakeServiceFactory,
) -> None:
    answered = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        fake = await fake_service(redis_url=f"redis://127.0.0.1:{port}", redis_timeout_s=10)
        async with asyncio.timeout(5):
            answer = await fake.client.get("/readyz")
        answered.set()
    assert (answer.status_code, answer.json()["store"]) == (200, "degraded")


async def test_counters_grow_with_the_requests(fake: FakeService, small_png: bytes) -> None:
    assert "atpn_faces_total{route=/align}" not in await scraped(fake)
    for _ in range(2):
        await fake.post("/align", small_png)
    await fake.post("/pose", b"no image")
    after = await scraped(fake)
    assert after["atpn_requests_total{route=/align,status=200}"] == 2
    assert after["atpn_requests_total{route=/pose,status=422}"] == 1
    assert after["atpn_request_seconds_count{route=/align}"] == 2
    assert after["atpn_faces_total{route=/align}"] == 2
    assert after["atpn_detections_total{route=/align}"] == 2
    assert after["atpn_detect_seconds_count{}"] == after["atpn_decode_seconds_count{}"] == 2
    assert after["atpn_errors_total{code=invalid_image}"] == 1
    assert after["atpn_batch_faces_sum{}"] == 2
    assert after["atpn_queue_seconds_count{}"] == 2
    assert after["atpn_inference_seconds_count{}"] == after["atpn_batch_faces_count{}"]


@pytest.mark.parametrize(
    "path", ["/metrics/", "//metrics", "/metrics;x", "/%256detrics", "/METRICS", "/metrics%0a"]
)
async def test_metrics_have_one_path_which_proxies_can_hide(fake: FakeService, path: str) -> None:
    answer = await fake.client.get(f"http://atpn{path}")
    assert answer.status_code in {307, 404}
    assert "atpn_requests" not in answer.text


@pytest.mark.parametrize("path", ["/healthz%0a", "/align%0a", "/v2/health/live%0a"])
async def test_a_line_break_behind_a_path_is_another_path(fake: FakeService, path: str) -> None:
    answer = await fake.client.request("POST" if "align" in path else "GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_scrape_itself_is_counted_by_the_next(fake: FakeService) -> None:
    await scraped(fake)
    assert (await scraped(fake))["atpn_requests_total{route=/metrics,status=200}"] == 1


async def test_unknown_paths_share_one_label(fake: FakeService) -> None:
    """Or every guess of a scanner would add to the memory of Prometheus."""
    for path in ("/a", "/b", "/align/c"):
        await fake.client.get(path)
    assert (await scraped(fake))["atpn_requests_total{route=other,status=404}"] == 3


async def test_a_wrong_method_is_counted(fake: FakeService) -> None:
    await fake.client.get("/align")
    counts = await scraped(fake)
    assert [v for k, v in counts.items() if k.startswith("atpn_requests_total") and "405" in k] == [
        1
    ]


async def test_the_model_in_use_is_a_metric(fake: FakeService) -> None:
    samples = await scraped(fake)
    assert samples["atpn_model_info{name=fake,provider=FakeExecutionProvider,version=1}"] == 1
    assert samples["atpn_streams{}"] == 0
    assert samples["atpn_queue_faces{}"] == 0


async def test_the_documentation_is_a_page(fake: FakeService) -> None:
    answer = await fake.client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "openapi.json" in answer.text
    assert "https:" not in answer.text  # it works where there is no other host


async def openapi(fake: FakeService) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    """The paths of /openapi.json."""
    answer: httpx.Response = await fake.client.get("/openapi.json")
    assert answer.status_code == 200
    paths: dict[str, dict[str, dict[str, dict[str, object]]]] = answer.json()["paths"]
    return paths


async def test_every_endpoint_is_documented(fake: FakeService) -> None:
    paths = await openapi(fake)
    assert {"/align", "/pose", "/healthz", "/readyz", "/metrics"} <= set(paths)
    assert all(method.get("summary") for path in paths.values() for method in path.values())


@pytest.mark.parametrize("path", ["/align", "/pose"])
async def test_the_input_and_the_errors_of_an_endpoint_are_documented(
    path: str, fake: FakeService
) -> None:
    method = (await openapi(fake))[path]["post"]
    assert set(method["requestBody"]["content"]) == {  # type: ignore[call-overload]
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/bmp",
        "application/octet-stream",
        "multipart/form-data",
        "application/json",
    }
    assert {"200", "413", "415", "422", "503", "504"} <= set(method["responses"])
    problem = method["responses"]["422"]["content"]  # type: ignore[index]
    assert "application/problem+json" in problem

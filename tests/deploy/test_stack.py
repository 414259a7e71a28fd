"""The stack of `docker compose up`, as processes: what it serves, hides, scrapes and survives."""

import json
import shutil
import time
from typing import Any

import httpx
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests import clips
from tests.deploy.files import ROOT
from tests.deploy.stack import REPLICAS, START_S, Stack, wait_for


async def answer(socket_: ClientConnection, frame: bytes) -> dict[str, Any]:
    """The service's answer to one frame."""
    await socket_.send(frame)
    message: dict[str, Any] = json.loads(await socket_.recv())
    return message


@pytest.mark.long
async def test_the_proxy_serves_photographs_and_hides_metrics(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{stack.proxy}") as client:
        photo = (ROOT / "tests" / "photos" / "astronaut.jpg").read_bytes()
        headers = {"content-type": "image/jpeg"}
        faces = (await client.post("/align", content=photo, headers=headers)).json()["faces"]
        assert len(faces) == 1
        for hidden in ("/metrics", "/metrics?x=1", "/%6detrics", "/metrics%0a"):
            assert (await client.get(hidden)).status_code == 404
        form = {"image": photo + b"\0" * 3_000_000}  # more than is kept in memory
        large = await client.post("/align", files=form)
        assert large.status_code == 200, large.text


@pytest.mark.long
async def test_redis_wants_the_password(stack: Stack) -> None:
    with (
        redis.Redis(port=stack.redis) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


@pytest.mark.long
async def test_prometheus_scrapes_both_replicas_and_the_proxy(stack: Stack) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    wait_for(lambda: len(stack.series("up == 1")) == 4, "not every target is up")
    assert len(stack.series("atpn_model_info")) == len(REPLICAS)
    assert stack.series("haproxy_process_start_time_seconds")
    rules = stack.client.get(f"http://127.0.0.1:{stack.prometheus}/api/v1/rules").json()["data"]
    health = [rule["health"] for group in rules["groups"] for rule in group["rules"]]
    assert health
    assert set(health) <= {"ok", "unknown"}


@pytest.mark.long
async def test_a_stream_goes_on_with_its_ids_when_its_replica_is_killed(stack: Stack) -> None:
    frames = clips.panning(40)
    url = f"ws://127.0.0.1:{stack.proxy}/track"
    async with connect(url) as first:
        token = json.loads(await first.recv())["token"]
        ids = {
            face["track_id"]
            for frame in frames[:15]
            for face in (await answer(first, frame))["faces"]
        }
        assert len(ids) == 1
        (home,) = [address for address, count in stack.open_streams().items() if count]
        stack.replicas[home].kill()
        with pytest.raises(ConnectionClosed):
            await answer(first, frames[15])
    killed = time.monotonic()
    async with connect(f"{url}?token={token}") as second:
        assert json.loads(await second.recv())["state"] == "resumed"
        answers = [await answer(second, frame) for frame in frames[16:]]
        (other,) = [address for address, count in stack.open_streams().items() if count]
    assert time.monotonic() - killed < START_S
    assert other != home
    assert answers[0]["state"] == "resumed"
    assert {face["track_id"] for a in answers for face in a["faces"]} == ids
    assert [a["seq"] for a in answers] == list(range(16, 16 + len(answers)))

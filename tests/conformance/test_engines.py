"""ATPN_ENGINE on Open Inference Protocol servers that are not ours, and /v2 by KServe's client."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from atpn import Client
from atpn.engine.inference import FaceNetwork, find_model, shipped_models
from atpn.engine.oip_tensors import request_in_bytes, request_in_numbers
from atpn.engine.remote import RemoteNetwork
from atpn.geometry import Image
from tests.conformance.peers import HERE, MLServer
from tests.server import Server, running

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
CROPS = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3)).astype(np.uint8)
CLOSE = 1e-4  # in units of the crop's side; radians


def needed(package: str) -> str:
    """The interpreter that has a package; the test is skipped where `make` has not made it."""
    python = ROOT / f".venv-{package}" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {package}: `make conformance` installs it")
    return str(python)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLServer]:
    """Another server that runs the shipped network."""
    server = MLServer(needed("mlserver"), tmp_path_factory.mktemp("peer"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def front_end(peer: MLServer) -> Iterator[Server]:
    """The service with its network on that server."""
    with running(engine=peer.engine, request_timeout_s="30") as server:
        yield server


def test_the_network_answers_there_as_here(peer: MLServer) -> None:
    local = FaceNetwork(find_model(shipped_models(), "atpn"))
    with closing(RemoteNetwork(peer.engine, "atpn", None, 30)) as remote:
        ours, theirs = local.run(CROPS), remote.run(CROPS)
    np.testing.assert_allclose(theirs.landmarks, ours.landmarks, atol=CLOSE)
    np.testing.assert_allclose(theirs.pose, ours.pose, atol=CLOSE)
    np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=CLOSE)


def test_crops_go_as_numbers_to_a_server_that_reads_no_bytes(peer: MLServer) -> None:
    in_bytes = post(peer, *request_in_bytes(CROPS)).status_code
    in_numbers = post(peer, *request_in_numbers(CROPS)).status_code
    with closing(RemoteNetwork(peer.engine, "atpn", None, 30)) as remote:
        assert not remote.sends_bytes
    assert in_bytes in {422, 500}  # 500 where the bytes are no text
    assert in_numbers == 200


def post(peer: MLServer, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send an inference request."""
    url = f"{peer.url}/v2/models/atpn/infer"
    return httpx.post(url, content=body, headers=headers, timeout=30, trust_env=False)


def test_photographs_and_streams_are_answered_as_with_the_network_in_the_process(
    front_end: Server, astronaut: Image
) -> None:
    with running() as local:
        answers = []
        for server in (local, front_end):
            with Client(server.url, timeout_s=60) as client:
                answers.append(
                    [
                        *client.align(astronaut, pose=True).faces,
                        *(face for frame in client.track([astronaut] * 4) for face in frame.faces),
                    ]
                )
    ours, theirs = answers
    assert len(ours) == len(theirs) == 5
    for one, other in zip(ours, theirs, strict=True):
        side = one.box[2] - one.box[0]  # pixels; the crop is larger
        np.testing.assert_allclose(other.landmarks, one.landmarks, atol=side * CLOSE + 0.01)
        assert other.pose.yaw == pytest.approx(one.pose.yaw, abs=0.02)
        assert other.confidence == pytest.approx(one.confidence, abs=1e-3)


def test_a_server_that_goes_away_is_a_503_and_is_found_again_when_it_returns(
    peer: MLServer, front_end: Server, astronaut_jpeg: bytes
) -> None:
    def align() -> httpx.Response:
        return httpx.post(
            f"{front_end.url}/align",
            content=astronaut_jpeg,
            headers={"content-type": "image/jpeg"},
            timeout=60,
        )

    before = align()
    peer.stop()
    without = align()
    peer.start()
    after = align()
    assert before.status_code == 200
    assert without.status_code == 503
    assert without.json()["code"] == "engine_unavailable"
    assert int(without.headers["retry-after"]) >= 1
    assert str(peer.port) not in without.text
    assert after.json()["faces"] == before.json()["faces"]


@pytest.mark.parametrize("form", ["numbers", "bytes"])
def test_kserves_client_reads_what_v2_answers(form: str, tmp_path: Path) -> None:
    python = needed("kserve")
    crops, answer = tmp_path / "crops.npy", tmp_path / "answer.npz"
    np.save(crops, CROPS)
    with running() as server:
        subprocess.run(
            [python, HERE / "kserve_client.py", server.url, form, crops, answer],
            check=True,
            timeout=300,
            env={k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "LD_PRELOAD"}},
        )
    local = FaceNetwork(find_model(shipped_models(), "atpn")).run(CROPS)
    theirs: dict[str, Any] = dict(np.load(answer))
    np.testing.assert_allclose(theirs["landmarks"], local.landmarks, atol=CLOSE)
    np.testing.assert_allclose(theirs["pose"], local.pose, atol=CLOSE)
    np.testing.assert_allclose(theirs["confidence"], local.confidence, atol=CLOSE)

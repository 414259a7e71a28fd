"""Batches sent to another Open Inference Protocol server, and answers of servers that err."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from atpn.engine.inference import FaceNetwork, find_model, shipped_models
from atpn.engine.oip_tensors import HEADER_LENGTH, read_tensors, request_in_numbers
from atpn.engine.remote import RemoteNetwork
from atpn.errors import ConfigurationError, EngineUnavailable
from tests.server import Server, running
from tests.stores import free_port


@pytest.fixture(scope="module")
def back_end() -> Iterator[Server]:
    """A server that runs the network."""
    with running() as server:
        yield server


def engine(server: Server) -> str:
    return f"oip+{server.url}"


def test_a_remote_network_answers_what_the_local_one_does(back_end: Server) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3)).astype(np.uint8)
    local = FaceNetwork(find_model(shipped_models(), "atpn"))
    with closing(RemoteNetwork(engine(back_end), "atpn", None, 10)) as remote:
        ours, theirs = local.run(crops), remote.run(crops)
    np.testing.assert_allclose(theirs.landmarks, ours.landmarks, atol=1e-5)
    np.testing.assert_allclose(theirs.pose, ours.pose, atol=1e-5)
    np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=1e-5)
    assert remote.model.version == local.model.version


def test_a_front_end_without_a_model_answers_as_the_back_end_does(
    back_end: Server, astronaut_jpeg: bytes
) -> None:
    answers = []
    with running(engine=engine(back_end)) as front_end:
        for server in (back_end, front_end):
            answer = httpx.post(
                f"{server.url}/align?include=pose",
                content=astronaut_jpeg,
                headers={"content-type": "image/jpeg"},
                timeout=30,
            )
            assert answer.status_code == 200
            answers.append(answer.json()["faces"])
        provider = httpx.get(f"{front_end.url}/readyz").json()["provider"]
    assert answers[0] == answers[1]
    assert provider == engine(back_end)


def test_without_its_back_end_a_front_end_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        RemoteNetwork(f"oip+http://127.0.0.1:{free_port()}", "atpn", None, 2)


def test_a_model_that_the_back_end_does_not_serve_is_a_configuration_error(
    back_end: Server,
) -> None:
    with pytest.raises(ConfigurationError, match="404"):
        RemoteNetwork(engine(back_end), "other", None, 5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "oip+ftp://127.0.0.1", "oip+http://"])
def test_an_address_of_another_kind_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"oip\+http"):
        RemoteNetwork(url, "atpn", None, 1)


def test_a_back_end_that_dies_is_503_and_not_a_fault_of_the_image(astronaut_jpeg: bytes) -> None:
    with running() as back_end, running(engine=engine(back_end)) as front_end:
        back_end.kill()
        answer = httpx.post(
            f"{front_end.url}/align",
            content=astronaut_jpeg,
            headers={"content-type": "image/jpeg"},
            timeout=30,
        )
    assert answer.status_code == 503
    assert answer.json()["code"] == "engine_unavailable"
    assert "retry-after" in answer.headers
    assert str(back_end.port) not in answer.text


@contextmanager
def answering(
    status: int, body: bytes, header_length: str | None = None, reads_bytes: bool = True
) -> Iterator[str]:
    """A server that knows the model, and answers every inference with these bytes, or 422 where
    it does not read bytes and is sent some.
    """

    class Handler(BaseHTTPRequestHandler):
        def _send(self, code: int, data: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            if header_length is not None:
                self.send_header(HEADER_LENGTH, header_length)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._send(200, b'{"name": "atpn", "versions": ["3"]}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            refused = not reads_bytes and self.headers["Content-Type"] != "application/json"
            self._send(422 if refused else status, body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"oip+http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def outputs(count: int, *, short: bool = False) -> bytes:
    """An answer in JSON numbers for so many crops."""
    sizes = {"landmarks": 196, "pose": 3, "confidence": 1}
    return json.dumps(
        {
            "outputs": [
                {"name": name, "shape": [count, size], "data": [0.5] * (count * size - short)}
                for name, size in sizes.items()
            ]
        }
    ).encode()


CROPS = np.zeros((2, 112, 112, 3), np.uint8)


def test_answers_in_json_numbers_are_read_too() -> None:
    with (
        answering(200, outputs(2)) as url,
        closing(RemoteNetwork(url, "atpn", None, 5)) as network,
    ):
        out = network.run(CROPS)
    assert network.model.version == "3"
    assert out.landmarks.shape == (2, 98, 2)
    assert out.confidence.shape == (2,)


@pytest.mark.parametrize("reads_bytes", [True, False])
def test_crops_go_as_numbers_to_a_server_that_does_not_read_bytes(reads_bytes: bool) -> None:
    with (
        answering(200, outputs(1), reads_bytes=reads_bytes) as url,
        closing(RemoteNetwork(url, "atpn", None, 5)) as network,
    ):
        assert network.sends_bytes == reads_bytes
        assert len(network.run(CROPS[:1])) == 1


def test_a_request_in_numbers_is_the_crops() -> None:
    crops = np.random.default_rng(1).integers(0, 256, CROPS.shape).astype(np.uint8)
    body, headers = request_in_numbers(crops)
    [sent] = json.loads(body)["inputs"]
    assert headers["content-type"] == "application/json"
    assert (np.reshape(sent["data"], sent["shape"]) == crops).all()


def test_a_back_end_that_announces_bytes_is_sent_bytes(back_end: Server) -> None:
    with closing(RemoteNetwork(engine(back_end), "atpn", None, 10)) as network:
        assert network.sends_bytes


@pytest.mark.parametrize(
    ("status", "body", "header_length"),
    [
        (500, b"{}", None),
        (302, outputs(2), None),
        (200, b"not JSON", None),
        (200, b'{"outputs": []}', None),
        (200, b'{"outputs": 7}', None),
        (200, b'{"outputs": [7]}', None),
        (200, b"[]", None),
        (200, outputs(3), None),
        (200, outputs(2, short=True), None),
        (200, outputs(2), "x"),
        (200, outputs(2), "5"),
    ],
)
def test_an_answer_that_is_not_the_protocols_is_an_unavailable_engine(
    status: int, body: bytes, header_length: str | None
) -> None:
    with (
        answering(status, body, header_length) as url,
        closing(RemoteNetwork(url, "atpn", None, 5)) as network,
        pytest.raises(EngineUnavailable),
    ):
        network.run(CROPS)


def test_parameters_of_an_output_may_be_null() -> None:
    answer = json.loads(outputs(2))
    for output in answer["outputs"]:
        output["parameters"] = None
    assert read_tensors(json.dumps(answer).encode(), None, 2)["pose"].shape == (2, 3)


def test_a_raw_tensor_that_is_cut_short_is_refused() -> None:
    head = json.dumps(
        {"outputs": [{"name": "pose", "parameters": {"binary_data_size": 24}}]}
    ).encode()
    with pytest.raises(ValueError, match="reshape"):
        read_tensors(head + bytes(20), str(len(head)), 2)

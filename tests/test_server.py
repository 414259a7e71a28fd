"""The process: what it cannot be started with is told in one line, and ends it with 2."""

import os
import socket
import subprocess
import sys

import pytest

from tests.stores import free_port


def refused(**settings: str) -> str:
    """What `atpn serve` says on standard error; it must end by itself, with 2."""
    environment = {**os.environ, **{f"ATPN_{k.upper()}": v for k, v in settings.items()}}
    command = [sys.executable, "-m", "atpn", "serve"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("atpn: ") == 1 + done.stderr.count(" INFO atpn: "), done.stderr
    assert "Traceback" not in done.stderr
    assert "uvicorn" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_model_that_cannot_be_served_stops_the_start(workers: str) -> None:
    told = refused(model="yunet", workers=workers, port=str(free_port()))
    assert told == "atpn: model 'yunet' is no face model: it lacks landmarks, pose, confidence"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_stops_the_start_with_the_settings_names(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused(port=str(port), workers=workers)
    assert told == f"atpn: ATPN_HOST=127.0.0.1 ATPN_PORT={port}: Address already in use"


def test_a_store_that_cannot_be_meant_stops_the_start_without_its_password() -> None:
    told = refused(redis_url="redis://:open#sesame@host:1", port=str(free_port()))
    assert told == "atpn: ATPN_REDIS_URL: redis://HOST:PORT is expected"

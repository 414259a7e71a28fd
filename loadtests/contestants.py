"""Who races: how each server is started, asked, and understood."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests import bodies
from loadtests.bodies import BOX, Request

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-race" / "bin"
DEADLINE_S = 0.5  # within which an answer is of use, under more load than can be served
LEFT_EYE, RIGHT_EYE = 60, 72  # WFLW's landmarks: the eyes' outer corners
Landmarks = NDArray[np.float64]


@dataclass(frozen=True)
class Contestant:
    """A server of the race."""

    name: str
    about: str
    command: Callable[[int], list[str]]  # for the port to listen on
    given: Request  # the photograph with its box
    searched: Request | None = None  # the photograph alone, where the server finds faces
    tracks: bool = False  # follows streams
    in_time: dict[str, str] = field(default_factory=dict)  # headers that tell DEADLINE_S
    environment: dict[str, str] = field(default_factory=dict)


def module(name: str, *options: str) -> Callable[[int], list[str]]:
    """A peer that is a Python module with a port as its argument."""
    return lambda port: [f"{PEERS}/python", "-m", f"loadtests.peers.{name}", *options, str(port)]


def bento(port: int) -> list[str]:
    """BentoML's own command."""
    target = "loadtests.peers.bentoml_service:Align"
    return [f"{PEERS}/bentoml", "serve", "-q", "--host", "127.0.0.1", "-p", str(port), target]


def atpn_given() -> Request:
    """How atpn is asked for the face in a box."""
    boxes = json.dumps([BOX], separators=(",", ":"))
    return bodies.raw(f"/align?include=pose&boxes={boxes}")


QUERY = "box=" + ",".join(map(str, BOX))


def contestants() -> dict[str, Contestant]:
    """All of them by name; atpn with the ``ATPN_`` settings of the environment."""
    every = [
        Contestant(
            "atpn",
            "as it comes",
            lambda port: ["env", f"ATPN_PORT={port}", sys.executable, "-m", "atpn", "serve"],
            atpn_given(),
            bodies.raw("/align?include=pose"),
            tracks=True,
            in_time={"X-Request-Timeout": str(DEADLINE_S)},
            environment={"ATPN_LOG_LEVEL": "warning", "ATPN_API_KEY_HASHES": "[]"},
        ),
        Contestant(
            "script",
            "FastAPI, two threads",
            module("script"),
            bodies.raw(f"/align?{QUERY}"),
            bodies.raw("/align"),
        ),
        Contestant(
            "mosec",
            "two workers",
            module("mosec_workers", "--address", "127.0.0.1", "--port"),
            bodies.packed("/inference"),
        ),
        Contestant(
            "litserve",
            "two workers, batches of up to 8",
            module("litserve_workers"),
            bodies.packed("/predict"),
        ),
        Contestant(
            "bentoml",
            "two workers of two threads",
            bento,
            bodies.raw(f"/align?{QUERY}"),
            environment={"BENTOML_DO_NOT_TRACK": "true"},
        ),
        Contestant(
            "pytriton",
            "Triton, two instances, batches of up to 8",
            module("triton_server"),
            bodies.tensors("/v2/models/align/infer"),
        ),
    ]
    return {each.name: each for each in every}


def landmarks(body: bytes) -> Landmarks:
    """(98, 2) of the one face in an answer, in pixels; ValueError where it is something else.

    Triton puts a header of its own before the peer's JSON.
    """
    start = body.find(b'{"faces"')
    answer: Any = json.loads(body[max(start, 0) :])
    faces = answer.get("faces", [])
    if len(faces) != 1 or "pose" not in faces[0]:
        raise ValueError(f"one face with its pose was expected: {body[:200]!r}")
    points = np.array(faces[0]["landmarks"], float)
    if points.shape != (98, 2):
        raise ValueError(f"98 landmarks were expected: {points.shape}")
    return points


def apart(points: Landmarks, reference: Landmarks) -> float:
    """The farthest that a landmark lies from the reference's, in inter-ocular distances."""
    eyes = np.linalg.norm(reference[LEFT_EYE] - reference[RIGHT_EYE])
    return float(np.linalg.norm(points - reference, axis=1).max() / eyes)

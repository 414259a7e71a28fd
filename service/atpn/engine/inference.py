"""ONNX Runtime: the shipped models on disk, and the face network as an array function.

A model folder is a Triton-style repository: ``<name>/<version>/model.onnx`` with
``<name>/<version>/metadata.json`` beside it, and perhaps ``without_pose.onnx``, the same network
without its pose branch.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from typing_extensions import override

from atpn.errors import ConfigurationError
from atpn.geometry import Image

Array = NDArray[np.float32]

ort.disable_telemetry_events()  # a service tells nobody what it does

OUTPUTS = ("landmarks", "pose", "confidence")  # of a face model
CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True)
class ModelFile:
    """One version of one model on disk."""

    name: str
    version: str
    path: Path
    metadata: dict[str, Any]

    @property
    def without_pose(self) -> Path | None:
        """The same without the pose branch, which takes a sixth of the time; None: not there."""
        path = self.path.with_name("without_pose.onnx")
        return path if "sha256_without_pose" in self.metadata else None


def shipped_models() -> Path:
    """The model folder that travels with the package."""
    packaged = Path(str(resources.files("atpn"))) / "artifacts"
    if packaged.is_dir():
        return packaged
    return Path(__file__).resolve().parents[3] / "models" / "artifacts"  # a source checkout


def find_model(folder: Path, name: str, version: str | None = None) -> ModelFile:
    """The given version of a model, or its newest; ConfigurationError where there is none.

    The files' sha256 must be those in its metadata.
    """
    root = folder / name
    versions = sorted(
        (p.name for p in root.glob("*") if p.name.isdigit() and (p / "model.onnx").is_file()),
        key=int,
    )
    if not versions:
        raise ConfigurationError(f"no model {name!r} in {folder}")
    if version is not None and version not in versions:
        have = ", ".join(versions)
        raise ConfigurationError(f"model {name!r} has no version {version!r}, only {have}")
    chosen = version or versions[-1]
    path = root / chosen / "model.onnx"
    model = ModelFile(name, chosen, path, _metadata(root / chosen / "metadata.json"))
    metadata = model.metadata
    _check(path, metadata.get("sha256"))
    if model.without_pose is not None:
        _check(model.without_pose, metadata["sha256_without_pose"])
    return model


def _metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    if not isinstance(metadata, dict):
        raise ConfigurationError(f"{path} is no JSON object")
    return metadata


def _check(path: Path, digest: object) -> None:
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise ConfigurationError(f"{path} is not the file its metadata describes (sha256)")


def available_cores() -> int:
    """CPU cores this process may use: its affinity, and the cgroup's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    cores = cores or os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2: the affinity is what is known
    return cores


def open_session(path: Path, device: str, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session on ``device`` (auto, cpu, cuda, tensorrt).

    ConfigurationError for a file that is no model, and for an explicit device that ONNX Runtime
    cannot give: it would otherwise fall back to the CPU with only a log line.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads sleep instead of spinning: the cores also decode and serve.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    available = ort.get_available_providers()
    if device == "auto":
        wanted = [p for p in ("CUDAExecutionProvider",) if p in available]
    else:
        wanted = [PROVIDERS[device]]
    there = wanted if device == "auto" or wanted[0] in available else []
    try:
        session = ort.InferenceSession(
            str(path), options, providers=list(dict.fromkeys([*there, CPU]))
        )
    except Exception as error:  # ONNX Runtime's own have nothing else in common
        raise ConfigurationError(f"{path} cannot be loaded: {error}") from error
    if device != "auto" and PROVIDERS[device] not in session.get_providers():
        raise ConfigurationError(
            f"device {device!r} was asked for, but ONNX Runtime offers only "
            f"{', '.join(session.get_providers())}: install the package and driver that provide "
            f"{PROVIDERS[device]}, or set ATPN_DEVICE=cpu"
        )
    return session


@dataclass(frozen=True)
class Prediction:
    """The network's answer for one crop."""

    landmarks: Array  # (98, 2) in units of the crop's side
    pose: Array  # (3,) yaw, pitch, roll in radians
    confidence: float  # probability that the crop shows a face


@dataclass(frozen=True)
class Predictions:
    """The network's answer for N crops."""

    landmarks: Array  # (N, 98, 2) in units of the crop's side
    pose: Array  # (N, 3) yaw, pitch, roll in radians
    confidence: Array  # (N,) probability that the crop shows a face

    def __len__(self) -> int:
        return len(self.confidence)

    def each(self) -> "list[Prediction]":
        """One a crop, in order."""
        rows = zip(self.landmarks, self.pose, self.confidence.tolist(), strict=True)
        return [Prediction(*row) for row in rows]


class Network(Protocol):
    """What answers batches of crops: a model in this process, or a server elsewhere."""

    model: ModelFile

    @property
    def provider(self) -> str:
        """Where the model runs: an execution provider's name, or an address."""

    def run(self, crops: Image, pose: bool = True) -> Predictions:
        """(N, 112, 112, 3) uint8 RGB crops to predictions. Thread-safe.

        Without ``pose`` the head poses may be zeros, and the run shorter.
        """

    def warm_up(self, batch_sizes: list[int]) -> None:
        """Run each batch size once, so that no request pays for the first run of a shape."""

    def close(self) -> None:
        """Free what the network holds; it is not used again."""


def bucket_of(count: int, largest: int) -> int:
    """The power of two that ``count`` crops are padded to, at most ``largest``."""
    return count if count >= largest else min(1 << (count - 1).bit_length(), largest)


class FaceNetwork(Network):
    """The ATPN network: crops in, predictions out. Thread-safe, as ONNX Runtime's ``run`` is.

    On a GPU every new batch shape costs a search for kernels, so batches of up to
    ``pad_up_to`` crops are padded to a power of two; 0 pads none. ConfigurationError for a model
    without the outputs of a face model.
    """

    def __init__(
        self, model: ModelFile, device: str = "cpu", threads: int = 1, pad_up_to: int = 0
    ) -> None:
        self.model = model
        self._session = open_session(model.path, device, threads)
        missing = set(OUTPUTS) - {output.name for output in self._session.get_outputs()}
        if missing:
            names = ", ".join(name for name in OUTPUTS if name in missing)
            raise ConfigurationError(f"model {model.name!r} is no face model: it lacks {names}")
        on_cpu = self.provider == CPU
        self._pad_up_to = 0 if on_cpu else pad_up_to
        self._without_pose = None  # a GPU has the pose for nothing
        if on_cpu and model.without_pose is not None:
            self._without_pose = open_session(model.without_pose, device, threads)

    @property
    @override
    def provider(self) -> str:
        return str(self._session.get_providers()[0])

    @override
    def run(self, crops: Image, pose: bool = True) -> Predictions:
        if not pose and self._without_pose is not None:
            points, sure = self._without_pose.run(["landmarks", "confidence"], {"image": crops})
            return Predictions(points, np.zeros((len(crops), 3), np.float32), sure)
        count = len(crops)
        extra = bucket_of(count, self._pad_up_to) - count if self._pad_up_to else 0
        if extra > 0:
            crops = np.concatenate([crops, np.zeros((extra, *crops.shape[1:]), np.uint8)])
        landmarks, poses, confidence = self._session.run(OUTPUTS, {"image": crops})
        return Predictions(landmarks[:count], poses[:count], confidence[:count])

    @override
    def warm_up(self, batch_sizes: list[int]) -> None:
        for size in batch_sizes:
            for pose in (True, False):
                self.run(np.zeros((size, 112, 112, 3), np.uint8), pose)

    @override
    def close(self) -> None:
        """The session goes with its last reference."""


def warm_sizes(largest: int) -> list[int]:
    """Batch sizes to run before the first request: every power of two and the largest."""
    return sorted({bucket_of(n, largest) for n in range(1, largest + 1)})

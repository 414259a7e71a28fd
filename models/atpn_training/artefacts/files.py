"""Writes one version of a model: ``model.onnx`` and ``metadata.json``, each in one step."""

import hashlib
import json
from pathlib import Path
from typing import Any

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"


def replace_file(path: Path, content: bytes) -> None:
    """Write beside ``path``, then move: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(content)
    part.replace(path)


def write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Write ``metadata.json`` of a version folder, readable and ending in a newline."""
    text = json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    replace_file(folder / "metadata.json", text.encode())


def read_metadata(folder: Path) -> dict[str, Any]:
    """The ``metadata.json`` of a version folder; an empty dict where there is none."""
    path = folder / "metadata.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def write_model(
    folder: Path, model: bytes, metadata: dict[str, Any], without_pose: bytes | None = None
) -> None:
    """Write a version folder; the metadata gets the files' sha256."""
    digests = {"sha256": hashlib.sha256(model).hexdigest()}
    replace_file(folder / "model.onnx", model)
    if without_pose is not None:
        digests["sha256_without_pose"] = hashlib.sha256(without_pose).hexdigest()
        replace_file(folder / "without_pose.onnx", without_pose)
    write_metadata(folder, metadata | digests)

"""The deployment files as data, and what the code says about the names in them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from atpn.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
K8S = ROOT / "k8s"
MONITORING = ROOT / "monitoring"

Document = dict[str, Any]

SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}


@cache
def document(path: Path) -> Document:
    """The only YAML document of a file."""
    loaded: Document = yaml.safe_load(path.read_text())
    return loaded


def bounds() -> dict[str, str]:
    """The settings by which docs/operations.md reckons the memory of a replica."""
    settings: dict[str, str] = document(K8S / "base" / "configmap.yaml")["data"]
    return {name: value for name, value in settings.items() if name.startswith("ATPN_MAX_")}


def accepted(name: str, value: str) -> object:
    """The setting's value as the service reads it; ValueError where it would refuse to start."""
    if name not in SETTINGS:
        raise ValueError(f"{name} is no setting of the service")
    field = name.removeprefix(PREFIX).lower()
    given: Any = json.loads(value) if value.startswith("[") else value
    return getattr(Settings(**{field: given}), field)

"""ATPN: face landmarks, head pose and face tracking as a microservice."""

import importlib
from typing import TYPE_CHECKING, Any

from atpn.extras import needs

if TYPE_CHECKING:
    from atpn.client import AsyncClient, Client
    from atpn.face_aligner import FaceAligner

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "FaceAligner", "__version__"]


def __getattr__(name: str) -> Any:
    """Imported when it is first asked for: the service does without clients, they without it."""
    if name in {"AsyncClient", "Client"}:
        return getattr(importlib.import_module("atpn.client"), name)
    if name == "FaceAligner":
        with needs("cpu"):
            return importlib.import_module("atpn.face_aligner").FaceAligner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

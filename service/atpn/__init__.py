"""ATPN: face landmarks, head pose and face tracking as a microservice."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atpn.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    """The clients, imported when they are first asked for: the service does without them."""
    if name in {"AsyncClient", "Client"}:
        return getattr(importlib.import_module("atpn.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What the parts of an answer have in common."""

from typing import Any

Payload = dict[str, Any]


class NotAsked(AttributeError):
    """A part of an answer that the request did not ask for."""


def shown(value: object, **fields: object) -> str:
    """Short enough to look at: landmarks and matrices are left out."""
    inside = ", ".join(f"{name}={content!r}" for name, content in fields.items())
    return f"{type(value).__name__}({inside})"

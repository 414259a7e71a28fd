"""The optional parts of an installation, and what to install where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtra(ImportError):
    """A package is not installed that only some uses need; the message says what to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; {how_to_install(extra)}")
        self.extra = extra


def how_to_install(extra: str) -> str:
    """What to run to have it."""
    return f"run in the project's folder: pip install '.[{extra}]'"


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports: what cannot be found raises MissingExtra with the extra's name."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "a package", extra) from error

"""The ``atpn`` command; `main` runs it."""

from atpn.cli.app import main

__all__ = ["main"]

"""The ``atpn`` command: `run` is the script, `main` gives its exit code."""

from atpn.cli.app import main, run

__all__ = ["main", "run"]

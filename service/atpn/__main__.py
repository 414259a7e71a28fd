"""``python -m atpn`` is ``atpn``."""

from atpn.cli import run

run()

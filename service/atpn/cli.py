"""The ``atpn`` command."""

import argparse
import sys
from collections.abc import Sequence

from atpn import __version__
from atpn.errors import ConfigurationError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="atpn", description="Face landmarks, pose and tracking.")
    top.add_argument("--version", action="version", version=f"atpn {__version__}")
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the service (settings: environment, prefix ATPN_)")
    commands.add_parser("models", help="list the models that can be served")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    command = parser().parse_args(arguments).command
    try:
        if command == "serve":
            return run_server()
        list_models()
    except ConfigurationError as error:
        print(f"atpn: {error}", file=sys.stderr)  # noqa: T201 - a command speaks to its user
        return 2
    return 0


def run_server() -> int:
    """``atpn serve``; the exit code."""
    from atpn.settings import load_settings  # noqa: PLC0415 - other commands need no web framework
    from atpn.workers import serve  # noqa: PLC0415

    return serve(load_settings())


def list_models() -> None:
    """``atpn models``: name, version and file of each."""
    from atpn.inference import find_model, shipped_models  # noqa: PLC0415
    from atpn.settings import load_settings  # noqa: PLC0415

    folder = load_settings().model_dir or shipped_models()
    for root in sorted(p for p in folder.iterdir() if p.is_dir()):
        for version in sorted((p.name for p in root.iterdir() if p.name.isdigit()), key=int):
            model = find_model(folder, root.name, version)
            print(f"{model.name}\t{model.version}\t{model.path}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())

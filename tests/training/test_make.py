"""The Makefile's command lines are ones that the commands take."""

import importlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def command_of(target: str) -> tuple[str, list[str]]:
    """Module and arguments of the training command that a target runs."""
    printed = subprocess.run(
        ["make", "--dry-run", "--assume-old=pyproject.toml", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    line = next(line for line in printed.splitlines() if "-m atpn_training" in line)
    words = shlex.split(line)
    start = words.index("-m") + 1
    return words[start], words[start + 1 :]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["train", "export", "evaluate"])
def test_the_command_takes_what_make_gives_it(target: str) -> None:
    module, arguments = command_of(target)
    name = f"{module}.__main__" if module == "atpn_training.train" else module
    importlib.import_module(name).parse(arguments)

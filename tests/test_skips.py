"""A test that is skipped fails continuous integration, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = """
import pytest

@pytest.mark.skip(reason="{reason}")
def test_nothing():
    pass

def test_something():
    pass
"""


@pytest.mark.parametrize(
    ("ci", "reason", "code"),
    [
        ("true", "no chromium on the PATH", 1),
        ("true", "real clips are not distributed", 0),
        ("", "no chromium on the PATH", 0),
    ],
)
def test_what_is_skipped_fails_continuous_integration(
    ci: str, reason: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPED.format(reason=reason))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.skips",
            "--rootdir",
            tmp_path,
            tmp_path,
        ],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert ("Skipped in continuous integration: " in done.stdout) == bool(code)

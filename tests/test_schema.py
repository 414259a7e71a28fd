"""Schemathesis tries the whole OpenAPI document on a running service."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.server import running

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_schemathesis_finds_nothing_on_the_whole_schema(tmp_path: Path) -> None:
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert command is not None
    with running(log_level="error") as server:
        found = subprocess.run(
            [
                *(command, "--config-file", str(CONFIG), "run", f"{server.url}/openapi.json"),
                *("--checks", "all", "--phases", "examples,coverage,fuzzing"),
                *("--max-examples", "5", "--seed", "1", "--request-timeout", "20"),
            ],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
            cwd=tmp_path,  # it keeps a cache
        )
    assert found.returncode == 0, found.stdout[-6000:]

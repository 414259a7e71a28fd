"""Where the tools are that judge the deployment files."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the programs that the extra `deploy` installs."""
    return Path(sys.executable).parent

"""Where the tools are that judge the deployment files, and the stack that they describe."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import Stack, running_stack


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the programs that the extra `deploy` installs."""
    return Path(sys.executable).parent


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running stack, for the tests of one file."""
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started

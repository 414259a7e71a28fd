"""The README keeps its word: its table of settings, its commands and its example."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atpn.cli import main
from atpn.settings import PREFIX, Settings
from tests import clips
from tests.conftest import Service
from tests.server import Server, running

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


def settings_table() -> dict[str, tuple[str, str]]:
    """Setting -> (default, meaning) as the README's table says."""
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    return {name: (default.strip("`"), meaning) for name, default, meaning in rows}


def shown(default: object) -> str:
    """A default as the table writes it."""
    return "" if default is None else json.dumps(default).strip('"')


def test_every_setting_stands_in_the_readme_with_its_default_and_meaning() -> None:
    expected = {
        PREFIX + name.upper(): (shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }
    assert settings_table() == expected


def test_the_readme_opens_with_the_two_commands() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert "make serve" in blocks[0]
    assert "make test" in README[: README.index("curl")]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", README))))
def test_every_make_target_that_the_readme_names_exists(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_path_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


async def test_the_curl_example_gives_the_answer_that_stands_below_it(service: Service) -> None:
    """Timings differ from run to run; the rest is what a reader sees."""
    example = re.search(r"--data-binary @(\S+) .*?'http://[^/]+(/[^']+)'", README, re.DOTALL)
    shown_answer = re.search(r"```json\n(\{\n.*?)```", README, re.DOTALL)
    assert example
    assert shown_answer
    expected = json.loads(shown_answer[1])
    answer = await service.post(example[2], (ROOT / example[1]).read_bytes())
    found = answer.json()
    assert found["ms"].keys() == expected["ms"].keys()
    assert found["image"] == expected["image"]
    assert found["model"] == expected["model"]
    for own, told in zip(found["faces"], expected["faces"], strict=True):
        np.testing.assert_allclose(own["landmarks"], told["landmarks"], atol=0.5)
        np.testing.assert_allclose(own["pose"]["rotation"], told["pose"]["rotation"], atol=0.01)
        assert own["confidence"] == pytest.approx(told["confidence"], abs=0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running service."""
    with running() as started:
        yield started


def python_block(text: str) -> str:
    """The program in a document."""
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(block)


def ran(code: str, *arguments: object) -> str:
    """What a program prints, run in the project's folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_python_example_runs(server: Server) -> None:
    out = ran(python_block(README).replace("http://127.0.0.1:8000", server.url))
    first, *frames = [line for line in out.splitlines() if line.startswith(("Box", "0", "1", "2"))]
    assert "(98, 2)" in first
    assert frames == ["0 detected [1]", "1 tracked [1]", "2 tracked [1]"]


def test_every_option_of_the_readmes_commands_exists(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^atpn (\w+) (.*)$", README, re.MULTILINE)
    assert len(commands) >= 5
    for command, rest in commands:
        assert main([command, "--help"]) == 0
        known = capsys.readouterr().out
        for option in re.findall(r"--\w+", rest.partition("#")[0]):
            assert option in known, f"atpn {command} {option}"


def test_the_tutorials_meter_runs_on_a_video(server: Server, tmp_path: Path) -> None:
    program = python_block(TUTORIAL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 45
    video = clips.video(tmp_path / "face.mp4", clips.panning(12))
    last = ran(program, video, server.url).splitlines()[-1]
    told = re.fullmatch(r"blinks (\d+)  yawns (\d+)  attention (\d+) %\s*", last)
    assert told, last
    blinks, yawns, attention = map(int, told.groups())
    assert blinks <= 2
    assert yawns == 0
    assert attention > 70

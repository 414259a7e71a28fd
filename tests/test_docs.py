"""The README keeps its word: its table of settings, its commands and its example."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from atpn.settings import PREFIX, Settings
from tests.conftest import Service

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


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

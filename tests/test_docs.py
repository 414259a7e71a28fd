"""The README keeps its word: its table of settings, its commands and its example."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from atpn.settings import PREFIX, Settings

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

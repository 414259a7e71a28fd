"""Where the JavaScript client is, and the programs that its README shows."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "clients" / "js"


def javascript(title: str) -> str:
    """The program under a heading of the client's README."""
    section = (PACKAGE / "README.md").read_text().split(f"\n## {title}\n")[1]
    return section.split("```js\n")[1].split("```")[0]

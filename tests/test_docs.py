"""The documentation keeps its word: its tables are those of the code, its links lead somewhere."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from starlette.routing import BaseRoute, Route, WebSocketRoute

from atpn.api.documentation import ANSWER_EXAMPLE, PROBLEM_EXAMPLE
from atpn.api.queries import AlignQuery
from atpn.app import create_app
from atpn.cli import main
from atpn.errors import AtpnError, CallersFault, TryLater
from atpn.settings import PREFIX, Settings
from tests.conftest import Service

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [
    *(README, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *PAGES),
    *sorted(p for folder in ("k8s", "loadtests", "tests") for p in (ROOT / folder).rglob("*.md")),
    ROOT / "models" / "README.md",
]
MOST_LINES = 150  # of the README
#: Heading of docs/errors.md -> base of the errors below it; the base of all is the last.
FAMILIES = {"The caller's fault": CallersFault, "Try later": TryLater, "Ours": AtpnError}


def page(name: str) -> str:
    """The text of docs/NAME.md."""
    return (ROOT / "docs" / f"{name}.md").read_text()


def section(text: str, heading: str) -> str:
    """What stands below a heading, to the next one of the same level or above."""
    level = heading.index(" ")
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.M | re.S)
    assert found, heading
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables' rows, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = [i for i, line in enumerate(lines) if set(line) <= set("|-: ")]
    heads = {i - 1 for i in rules} | set(rules)
    kept = [line for i, line in enumerate(lines) if i not in heads]
    return [re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in kept]


def named(*cells: str) -> set[str]:
    """What stands between backticks."""
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def prose(text: str) -> str:
    """The text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(text: str) -> dict[str, str]:
    """The headings by the names that GitHub gives them."""
    headings = re.findall(r"^#+ .*$", prose(text), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    names = [re.sub(r"[^\w\- ]", "", each.lstrip("# ").lower()) for each in plain]
    return {name.replace(" ", "-"): heading for name, heading in zip(names, headings, strict=True)}


def links(text: str) -> list[str]:
    """The targets of links and pictures that lead to files, or within them."""
    return [to for to in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if "://" not in to]


def broken(document: Path, link: str) -> bool:
    """Whether the link leads to nothing."""
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.exists():
        return True
    return bool(anchor) and anchor not in anchors(target.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert [link for link in links(document.read_text()) if broken(document, link)] == []


def test_a_link_to_a_missing_file_or_heading_is_found() -> None:
    assert broken(README, "docs/nowhere.md")
    assert broken(README, "docs/errors.md#nobodys-fault")
    assert not broken(README, "docs/errors.md#the-callers-fault")


def test_the_readme_is_short_and_opens_with_the_two_commands() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    [first, *_] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert re.findall(r"^make (\w+)", first, re.MULTILINE) == ["serve", "test"]


def test_the_contents_name_every_page_and_each_page_the_next() -> None:
    order = re.findall(r"^\d+\. \[.*?\]\((\w+\.md)\)", page("README"), re.MULTILINE)
    assert sorted(order) == sorted(p.name for p in PAGES if p.name != "README.md")
    for name, following in zip(order, [*order[1:], None], strict=True):
        last = page(name.removesuffix(".md")).splitlines()[-1]
        assert links(last) == [*([following] if following else []), "README.md"], name


def shown(default: object) -> str:
    """A default as the tables write it."""
    return "" if default is None else json.dumps(default).strip('"')


def test_every_setting_has_its_default_and_meaning_in_the_tables() -> None:
    table = {name.strip("`"): (value.strip("`"), says) for name, value, says in settings_rows()}
    assert table == {
        PREFIX + name.upper(): (shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }


def settings_rows() -> list[list[str]]:
    """Setting, default and meaning."""
    return [row for row in rows(page("settings")) if row[0].startswith(f"`{PREFIX}")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_and_make_target_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", text)) <= settings
    assert set(re.findall(r"`(?:\w+=\S+ )*make ([a-z-]+)", text)) <= make_targets()


def make_targets() -> set[str]:
    """What the Makefile can be asked for."""
    found = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    return set(found[1].split())


@pytest.mark.parametrize("arguments", [[], ["help"]])
def test_make_alone_lists_every_target_with_a_line(arguments: list[str]) -> None:
    make = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    told = dict(re.findall(r"^([a-z-]+)  +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(told) == make_targets()
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_development_page_lists_every_make_target() -> None:
    listed = {cells[0].strip("`") for cells in rows(page("development")) if "`make " in cells[0]}
    assert listed == {f"make {target}" for target in make_targets()}


def test_the_layers_name_every_module_and_folder_of_the_package() -> None:
    package = ROOT / "service" / "atpn"
    told = {
        (ROOT / "docs" / link).resolve()
        for layer, _ in rows(section(page("development"), "## Folders"))
        for link in links(layer)
    }
    found = {path for path in package.iterdir() if not path.name.startswith(("__", "py.typed"))}
    assert {path for path in told if path.parent == package} == found


def test_every_module_on_a_requests_way_exists() -> None:
    modules = re.findall(r"`([\w/]+\.py)`", section(page("development"), "## A request's way"))
    assert len(modules) >= 8
    assert [name for name in modules if not (ROOT / "service/atpn" / name).exists()] == []


def flat(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """The routes, and those of routers among them: newer versions of FastAPI keep them whole."""
    for route in routes:
        router = getattr(route, "original_router", None)
        yield from [route] if router is None else flat(router.routes)


def routes() -> set[str]:
    """Every endpoint as METHOD PATH, but the page's own files."""
    found = set()
    for route in flat(create_app(Settings()).routes):
        if isinstance(route, WebSocketRoute):
            found.add(f"WS {route.path}")
        elif isinstance(route, Route) and route.path not in {"/web/{name:path}", "/v2/"}:
            found |= {f"{method} {route.path}" for method in (route.methods or set()) - {"HEAD"}}
    return found


def endpoints(text: str) -> set[str]:
    """Those of the first columns of a text's tables."""
    cells = [cells[0] for cells in rows(text)]
    return {name for name in named(*cells) if re.match(r"(GET|POST|WS) /|/v2/", name)}


def test_the_readmes_endpoints_are_those_of_the_application() -> None:
    below = {route for route in routes() if " /v2" in route}
    assert endpoints(README.read_text()) == routes() - below | {"/v2/…"}


def test_the_http_page_has_every_http_endpoint_and_parameter() -> None:
    text = page("http")
    assert endpoints(text) == {route for route in routes() if not route.startswith("WS")}
    parameters = [cells[0] for cells in rows(section(text, "### Query"))]
    assert named(*parameters) == set(AlignQuery.model_fields)


def test_the_stream_page_has_every_field_of_every_message() -> None:
    document = json.loads((ROOT / "service/atpn/api/asyncapi.json").read_text())
    schemas = document["components"]["schemas"]
    fields = {name for key in schemas if key != "pose" for name in schemas[key]["properties"]}
    text = page("track")
    told = [section(text, f"## Messages from the {side}") for side in ("service", "client")]
    first = [cells[0] for cells in rows("\n".join(told)) if not cells[0].startswith("`{")]
    assert named(*first) == fields - {"type"}


def errors(kind: type[AtpnError] = AtpnError) -> Iterator[type[AtpnError]]:
    """The kind and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from errors(below)


def family_of(kind: type[AtpnError]) -> type[AtpnError]:
    """Whose fault it is."""
    return next(family for family in FAMILIES.values() if issubclass(kind, family))


def test_every_error_has_its_family_status_and_close_code_in_the_tables() -> None:
    told = {
        (FAMILIES[heading], code.strip("`"), int(status), int(close))
        for heading in FAMILIES
        for code, status, close, _ in rows(section(page("errors"), f"## {heading}"))
        if close
    }
    kinds = [kind for kind in errors() if kind.__module__ == "atpn.errors"]
    assert told == {(family_of(kind), kind.code, kind.status, kind.close_code) for kind in kinds}


async def test_the_errors_that_no_class_stands_for_are_those_of_unknown_paths(
    service: Service,
) -> None:
    told = {
        code.strip("`"): int(status)
        for code, status, close, _ in rows(section(page("errors"), "## The caller's fault"))
        if not close
    }
    answers = [await service.client.get("/nowhere"), await service.client.get("/align")]
    assert {answer.json()["code"]: answer.status_code for answer in answers} == told


def test_the_shown_answer_and_problem_are_those_of_the_openapi_document() -> None:
    examples = {README: ANSWER_EXAMPLE, ROOT / "docs/errors.md": PROBLEM_EXAMPLE}
    for document, example in examples.items():
        [block] = re.findall(r"```json\n(\{\n.*?)```", document.read_text(), re.DOTALL)
        assert json.loads(block) == example


def test_the_readmes_figures_stand_in_the_section_that_they_name() -> None:
    figures = rows(section(README.read_text(), "## Figures"))
    assert len(figures) >= 5
    for figure, _, measured, source in figures:
        [link] = links(source)
        number = re.match(r"[\d.]+", measured)
        assert number, figure
        path, _, anchor = link.partition("#")
        target = (ROOT / path).read_text()
        told = section(target, anchors(target)[anchor])
        assert re.search(rf"(?<![\d.]){re.escape(number[0])}(?![\d.])", told), figure


def test_rates_of_faces_stand_on_the_performance_page_only() -> None:
    elsewhere = [README, *(p for p in PAGES if p.stem != "performance")]
    assert [p.name for p in elsewhere if re.search(r"\d faces/s", p.read_text())] == []


def test_every_file_that_answers_a_question_has_in_it_what_the_table_says() -> None:
    answers = rows(section(page("development"), "## Which file answers it"))
    assert len(answers) >= 12
    for question, files, name in answers:
        source = (ROOT / "docs" / links(files)[0]).read_text()
        defined = rf"^ *(async def |def |class )?{name.strip('`')}\b"
        assert re.search(defined, source, re.MULTILINE), question


def test_every_option_of_the_shown_commands_exists(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^atpn (\w+)(.*)$", page("clients"), re.MULTILINE)
    assert len(commands) >= 6
    for command, rest in commands:
        assert main([command, "--help"]) == 0
        known = capsys.readouterr().out
        for option in re.findall(r"--\w+", rest.partition("#")[0]):
            assert option in known, f"atpn {command} {option}"

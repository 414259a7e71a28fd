"""GET / and its files: what is served, under which headers, and to whom."""

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from starlette.exceptions import HTTPException
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from atpn.api.auth import check_key, offered_key
from atpn.api.page import FILES, FOLDER, PATHS, SWAGGER_UI, page_files
from atpn.errors import Unauthorized
from tests.conftest import FakeServiceFactory, Service
from tests.server import Server, running

ROOT = Path(__file__).resolve().parents[1]
KEY = "a key with ünusual sigñs?"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def offer(key: str) -> Subprotocol:
    """The subprotocol that carries a key."""
    return Subprotocol("atpn.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("="))


async def test_the_page_is_served_at_the_root(service: Service) -> None:
    answer = await service.client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == (FOLDER / "index.html").read_text()


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_every_file_comes_with_strict_headers(service: Service, path: str) -> None:
    answer = await service.client.get(path)
    assert answer.status_code == 200
    policy = dict(p.split(" ", 1) for p in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["permissions-policy"].startswith("camera=(self)")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("example.jpg", "image/jpeg"),
    ],
)
async def test_files_have_the_type_that_browsers_insist_on(
    service: Service, name: str, kind: str
) -> None:
    assert (await service.client.get(f"/web/{name}")).headers["content-type"] == kind


async def test_a_browser_that_has_the_file_is_told_so(service: Service) -> None:
    first = await service.client.get("/web/main.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = await service.client.get("/web/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    other = await service.client.get("/web/main.js", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


async def test_head_tells_the_length_without_the_file(service: Service) -> None:
    answer = await service.client.head("/")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == FILES["index.html"].stat().st_size


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/nothing.js",
        "/web/../page.py",
        "/web/..%2fpage.py",
        "/web/%2e%2e%2fpage.py",
        "/web/..%5cpage.py",
        "/web//etc/passwd",
        "/web/main.js%00",
        "/web/redoc.standalone.js",
        f"/web/{'a' * 300}",
    ],
)
async def test_nothing_else_is_served_from_there(service: Service, path: str) -> None:
    answer = await service.client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "./main.js", "../page.py", "x/../main.js", "/etc/passwd", "main.js\0"]
)
async def test_a_name_is_looked_up_and_never_walked(name: str) -> None:
    scope = {"type": "http", "method": "GET", "headers": []}
    with pytest.raises(HTTPException) as refused:
        await page_files.get_response(name, scope)
    assert refused.value.status_code == 404


async def test_where_keys_are_set_the_page_is_open_and_the_service_is_not(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(api_key_hashes=[DIGEST])
    for path in sorted(PATHS):
        assert (await fake.client.get(path)).status_code == 200
    assert (await fake.post("/align", small_png)).status_code == 401
    assert (await fake.client.get("/web/nothing.js")).status_code == 401
    assert (await fake.client.get("/v2")).status_code == 401


def test_all_that_the_files_name_travels_with_them() -> None:
    pages = FILES["index.html"].read_text() + FILES["docs.html"].read_text()
    named = set(re.findall(r'(?:href|src)="web/([^"]+)"', pages))
    for name, file in FILES.items():
        if name.endswith(".js") and name not in SWAGGER_UI:
            text = file.read_text()
            below = re.findall(r'from "\./([^"]+)"', text)
            below += re.findall(r'new URL\("(\w+\.js)", import', text)
            named |= {str(PurePosixPath(name).parent / found) for found in below}
            named |= set(re.findall(r'fetch\("web/([^"]+)"', text))
    assert {"main.js", "atpn/client.js", "atpn/encoder.js"} <= named
    assert named <= set(FILES)
    assert set(FILES) - named == {"index.html", "docs.html", "atpn/index.js"}


def test_the_wheel_brings_the_client_where_the_page_looks_for_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    placed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert placed["clients/js/src"] == "atpn/api/web/atpn"
    assert FILES["atpn/client.js"] == ROOT / "clients" / "js" / "src" / "client.js"


OURS = sorted(name for name in FILES if not name.endswith(".jpg") and name not in SWAGGER_UI)


@pytest.mark.parametrize("name", OURS)
def test_no_file_needs_another_host_or_breaks_the_policy(name: str) -> None:
    text = FILES[name].read_text()
    elsewhere = set(re.findall(r"""["'(](https?:)?//[\w.-]+""", text))
    assert not elsewhere or re.findall(r"https?://[\w./]+", text) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)


def test_the_example_is_the_test_photograph() -> None:
    photo = Path(__file__).with_name("photos") / "astronaut.jpg"
    assert FILES["example.jpg"].read_bytes() == photo.read_bytes()


def test_every_control_of_the_page_has_a_name() -> None:
    text = FILES["index.html"].read_text()
    labelled = set(re.findall(r'<label for="([^"]+)"', text))
    for tag in re.findall(r"<input[^>]*>", text):
        name = re.search(r'id="([^"]+)"', tag)
        inside_label = re.search(rf"<label[^>]*>{re.escape(tag)}", text)
        assert "aria-label=" in tag or inside_label or (name and name[1] in labelled), tag
    for attributes, content in re.findall(r"<button([^>]*)>(.*?)</button>", text, re.DOTALL):
        if 'id="notice-action"' not in attributes:  # gets its words when it is shown
            assert content.strip(), attributes


@pytest.mark.parametrize("key", [KEY, "k", "kk", "kkk", "~~~???"])
def test_a_key_survives_its_way_through_a_subprotocol(key: str) -> None:
    assert offered_key(["atpn.v1.json", offer(key)]) == key


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["atpn.v1.json"],
        ["atpn.key."],
        ["atpn.key.a"],
        ["atpn.key.!!!!"],
        ["atpn.key._w"],  # a byte that is no UTF-8
        ["atpn.key.YW Jj"],
    ],
)
def test_a_subprotocol_that_carries_no_key_opens_nothing(names: list[str]) -> None:
    assert offered_key(names) == ""
    with pytest.raises(Unauthorized):
        check_key([DIGEST], {}, names)


def test_a_wrong_key_in_a_header_is_not_mended_by_a_subprotocol() -> None:
    check_key([DIGEST], {}, [offer(KEY)])
    with pytest.raises(Unauthorized):
        check_key([DIGEST], {"authorization": "Bearer wrong"}, [offer(KEY)])
    with pytest.raises(Unauthorized):
        check_key([DIGEST], {"x-api-key": "wrong"}, [offer(KEY)])


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A service that wants a key."""
    with running(api_key_hashes=json.dumps([DIGEST]), log_level="debug") as server:
        yield server


async def test_a_browser_opens_a_stream_with_its_key_as_a_subprotocol(
    locked: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    offered = [Subprotocol("atpn.v1.json"), offer(KEY)]
    async with connect(locked.track_url, subprotocols=offered) as socket:
        assert socket.subprotocol == "atpn.v1.json"
        assert socket.response is not None
        assert offer(KEY) not in str(socket.response.headers)
        assert json.loads(await socket.recv())["type"] == "session"
    written = capfd.readouterr()
    assert offer(KEY) not in written.err + written.out


@pytest.mark.parametrize("extra", [[], [offer("wrong")], [Subprotocol("atpn.key.!")]])
async def test_a_stream_without_the_right_key_is_refused(
    locked: Server, extra: list[Subprotocol]
) -> None:
    async with connect(
        locked.track_url, subprotocols=[Subprotocol("atpn.v1.json"), *extra]
    ) as socket:
        assert json.loads(await socket.recv())["code"] == "unauthorized"
        await socket.wait_closed()
        assert socket.close_code == 1008


async def test_the_key_alone_is_never_selected_as_the_subprotocol(locked: Server) -> None:
    async with connect(locked.track_url, subprotocols=[offer(KEY)]) as socket:
        assert socket.subprotocol is None
        assert json.loads(await socket.recv())["type"] == "session"

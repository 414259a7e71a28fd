"""The JavaScript client: its own tests in Node, its types, and what is packed and shipped of it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from atpn import __version__
from tests.javascript import PACKAGE, javascript
from tests.server import Server, running

ROOT = Path(__file__).resolve().parents[1]
MODULES = PACKAGE / "node_modules"
PHOTO = Path(__file__).with_name("photos") / "astronaut.jpg"
TESTS = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.glob("test/*.test.js"))
MANIFEST: dict[str, Any] = json.loads((PACKAGE / "package.json").read_text())

TSC = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--target", "es2022"]
TSC += ["--module", "nodenext", "--lib", "es2022,dom", "--allowImportingTsExtensions"]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on the PATH")
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on the PATH")
needs_modules = pytest.mark.skipif(not MODULES.exists(), reason="no `npm ci` in clients/js")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service without keys."""
    with running() as started:
        yield started


def told(*command: str, **environment: str) -> str:
    """What a command in the package's folder writes; it must end well."""
    done = subprocess.run(
        command,
        cwd=PACKAGE,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_node
@needs_modules
async def test_the_client_works_in_node_with_a_running_service(server: Server) -> None:
    written = await asyncio.to_thread(
        told,
        *("node", "--test", "--test-reporter=tap", *TESTS),
        ATPN_URL=server.url,
        ATPN_PHOTO=str(PHOTO),
    )
    assert re.search(r"^# fail 0$", written, re.MULTILINE)
    assert re.search(r"^# skipped 0$", written, re.MULTILINE)


@needs_node
@needs_modules
async def test_the_readmes_program_runs_in_node(server: Server) -> None:
    program = javascript("In Node").replace("http://127.0.0.1:8000", server.url)
    program = program.replace("tests/photos/astronaut.jpg", str(PHOTO))
    node = ("node", "--input-type=module", "-e", program)
    yaw, *states = (await asyncio.to_thread(told, *node)).split()
    assert abs(float(yaw)) < 10
    assert states == ["detected", "tracked"]


@needs_modules
async def test_the_types_are_those_of_what_the_service_answers(
    server: Server, tmp_path: Path
) -> None:
    photo = PHOTO.read_bytes()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        headers = {"content-type": "image/jpeg"}
        aligned = await client.post("/align?include=pose", content=photo, headers=headers)
        posed = await client.post("/pose", content=photo, headers=headers)
    async with connect(server.track_url) as socket:
        session = await socket.recv()
        await socket.send(json.dumps({"type": "config", "smoothing": True}))
        await socket.send(photo)
        frame = await socket.recv()
    assert len(aligned.json()["faces"]) == len(json.loads(frame)["faces"]) == 1
    program = f"""
import type {{ Answer, FrameAnswer, PosedFace, Session }} from "{PACKAGE}/index.d.ts";
export const aligned = {aligned.text} satisfies Answer;
export const posed = {posed.text} satisfies Answer<PosedFace>;
export const session = {session!s} satisfies Session;
export const frame = {frame!s} satisfies FrameAnswer;
"""
    (tmp_path / "answers.ts").write_text(program)
    await asyncio.to_thread(told, *TSC, str(tmp_path / "answers.ts"))


@needs_modules
def test_programs_in_typescript_compile_and_wrong_ones_do_not() -> None:
    told("node_modules/.bin/tsc")


@needs_node
def test_what_is_declared_is_what_there_is() -> None:
    declared = (PACKAGE / "index.d.ts").read_text()
    names = set(re.findall(r"^export (?:class|function|const) (\w+)", declared, re.MULTILINE))
    program = "console.log(Object.keys(await import('atpn')).join(' '))"
    assert names == set(told("node", "--input-type=module", "-e", program).split())


def test_the_package_has_the_version_and_the_licence_of_the_service() -> None:
    assert MANIFEST["version"] == __version__
    assert (PACKAGE / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert "dependencies" not in MANIFEST


@needs_npm
def test_npm_packs_the_sources_the_types_the_licence_and_nothing_else(tmp_path: Path) -> None:
    told("npm", "pack", "--offline", "--pack-destination", str(tmp_path))
    with tarfile.open(tmp_path / f"atpn-{__version__}.tgz") as archive:
        packed = {name.removeprefix("package/") for name in archive.getnames()}
    sources = {f"src/{path.name}" for path in (PACKAGE / "src").iterdir()}
    assert packed == {"package.json", "README.md", "LICENSE", "index.d.ts"} | sources

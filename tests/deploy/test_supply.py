"""What the images are made of: digests of their bases, and what is known of their packages."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import audit
import pin
from tests.deploy.files import ROOT

MANIFEST = b'{"schemaVersion": 2, "manifests": []}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
OLD = f"sha256:{64 * '0'}"
DOCKERFILE = "ARG PYTHON_IMAGE=python:3.12-slim\nFROM ${PYTHON_IMAGE} AS wheel\n"
COMPOSE = f"    image: atpn:cpu\n    image: prom/prometheus:v3.5.0@{OLD}\n"


class Registry(BaseHTTPRequestHandler):
    """A registry that wants a token, and has the same manifest for every image but one."""

    claimed = DIGEST
    asked: list[str] = []  # noqa: RUF012 - of all requests, for the test to read

    def do_GET(self) -> None:
        """Answer a token, a challenge, or the manifest."""
        self.asked.append(self.path)
        if self.path.startswith("/token"):
            self.answer(200, b'{"token": "let-me-in"}')
        elif "missing" in self.path:
            self.answer(404, b"{}")
        elif self.headers.get("Authorization") != "Bearer let-me-in":
            scope = f'Bearer realm="http://{self.headers["Host"]}/token",service="s",scope="pull"'
            self.answer(401, b"{}", ("WWW-Authenticate", scope))
        else:
            assert "vnd.oci.image.index" in self.headers["Accept"]
            self.answer(200, MANIFEST, ("Docker-Content-Digest", self.claimed))

    def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        """A response."""
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def registry(claimed: str = DIGEST) -> Iterator[str]:
    """The address of a registry on a loopback port."""
    handler = type("Handler", (Registry,), {"claimed": claimed, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files that name images."""
    paths = [tmp_path / "Dockerfile", tmp_path / "compose.yaml"]
    for path, text in zip(paths, [DOCKERFILE, COMPOSE], strict=True):
        path.write_text(text)
    return paths


def test_the_digests_of_the_tags_are_written_and_hold_then(files: list[Path]) -> None:
    with registry() as url:
        assert pin.main(["--check", "--registry", url], files) == 1
        assert [path.read_text() for path in files] == [DOCKERFILE, COMPOSE]
        assert pin.main(["--registry", url], files) == 0
        assert pin.main(["--check", "--registry", url], files) == 0
    dockerfile, compose = (path.read_text() for path in files)
    assert dockerfile == DOCKERFILE.replace("slim\n", f"slim@{DIGEST}\n")
    assert compose == COMPOSE.replace(OLD, DIGEST)


@pytest.mark.parametrize(
    ("claimed", "dockerfile"),
    [(OLD, DOCKERFILE), (DIGEST, DOCKERFILE.replace("python:", "missing:"))],
    ids=["a manifest with another digest", "no such tag"],
)
def test_a_registry_that_is_wrong_changes_nothing(
    claimed: str, dockerfile: str, files: list[Path]
) -> None:
    files[0].write_text(dockerfile)
    with registry(claimed) as url:
        assert pin.main(["--registry", url], files) == 2
    assert [path.read_text() for path in files] == [dockerfile, COMPOSE]


def test_a_registry_that_does_not_answer_changes_nothing(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with registry() as url:
        pass
    assert pin.main(["--registry", url], files) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert files[0].read_text() == DOCKERFILE


@pytest.mark.parametrize(
    ("text", "host", "repository"),
    [
        ("python:3.12", pin.HUB, "library/python"),
        ("grafana/grafana:12.1.1", pin.HUB, "grafana/grafana"),
        ("nvcr.io/nvidia/tritonserver:25.03-py3", "nvcr.io", "nvidia/tritonserver"),
        (f"localhost:5000/a:1@{OLD}", "localhost:5000", "a"),
    ],
)
def test_an_image_is_looked_for_where_its_name_says(text: str, host: str, repository: str) -> None:
    found = pin.reference(text)
    assert (found.host, found.repository) == (host, repository)


def test_every_foreign_image_of_the_project_is_found() -> None:
    names = {
        pin.reference(match[2]).name
        for path in pin.FILES
        for match in pin.NAMED.finditer(path.read_text())
    }
    everywhere = "\n".join(
        path.read_text() for folder in ("docker", "k8s") for path in (ROOT / folder).rglob("*.yaml")
    )
    written = {match[2].partition(":")[0] for match in pin.NAMED.finditer(everywhere)}
    assert written <= names
    assert {"python", "nvidia/cuda", "redis", "haproxy"} <= names


Tool = Callable[[object, str, int], str]


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """A program in place of pip-audit that writes a report, says something, and ends."""

    def made(report: object, says: str, code: int) -> str:
        path = tmp_path / "pip-audit"
        written = f"pathlib.Path(out).write_text({json.dumps(json.dumps(report))})"
        path.write_text(
            "#!/usr/bin/env python3\nimport pathlib, sys\n"
            'out = sys.argv[sys.argv.index("--output") + 1]\n'
            f"{written if report else ''}\nprint({says!r}, file=sys.stderr)\nsys.exit({code})\n"
        )
        path.chmod(0o755)
        return str(path)

    return made


GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "mystery", "skip_reason": "not found"}
ENDS = "requests.exceptions.ConnectionError: Max retries exceeded"


@pytest.mark.parametrize(
    ("dependencies", "says", "code", "expected", "line"),
    [
        ([GOOD], "", 0, 0, "no known vulnerability in 1 of 1"),
        ([GOOD, UNKNOWN], "", 0, 0, "in 1 of 2 packages; unknown are mystery"),
        ([GOOD, BAD], "", 1, 1, "bad 2: PYSEC-1, mended in 3"),
        ([UNKNOWN], "No known vulnerabilities found", 0, 0, "not audited, the database knows none"),
        (None, ENDS, 1, 0, "not audited, the database cannot be reached"),
        (None, "ERROR: the lock is no lock", 1, 1, "pip-audit failed: ERROR: the lock"),
    ],
    ids=["good", "partly", "a finding", "nothing known", "unreachable", "broken"],
)
def test_only_a_finding_or_a_failure_fails_the_audit(
    dependencies: object,
    says: str,
    code: int,
    expected: int,
    line: str,
    tool: Tool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = dependencies and {"dependencies": dependencies, "fixes": []}
    program = tool(report, says, code)
    assert audit.main(["--tool", program, str(ROOT / "docker/requirements-build.lock")]) == expected
    told = capsys.readouterr().out
    assert line in told
    assert len(told.splitlines()) == 1


@pytest.mark.long
def test_the_bill_of_materials_has_every_package_of_the_lock_and_its_licence() -> None:
    subprocess.run(["make", "sbom"], cwd=ROOT, check=True, timeout=600)
    bill = json.loads((ROOT / "build/sbom-cpu.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    found = {f"{c['name'].lower().replace('_', '-')}=={c['version']}" for c in bill["components"]}
    lock = (ROOT / "docker/requirements-cpu.lock").read_text().splitlines()
    locked = {line.split()[0] for line in lock if "==" in line and ";" not in line}
    assert locked <= found
    licences = (ROOT / "build/licences-cpu.md").read_text()
    assert all(name.partition("==")[0] in licences.lower().replace("_", "-") for name in locked)

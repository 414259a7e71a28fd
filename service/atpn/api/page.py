"""GET /, GET /docs and their files, under a strict content security policy.

Nothing comes from another host: Swagger UI is a package's copy. The pages are open where API
keys are set: they show nothing of their own and ask for a key themselves.
"""

import mimetypes
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("web")
INDEX, DOCS = "index.html", "docs.html"
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",  # data: for the icons in Swagger UI's style sheet
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Cache-Control": "no-cache",  # keep, but ask whether it is still the same
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

mimetypes.add_type("text/javascript", ".js")  # some systems' tables say otherwise


class PageFiles(StaticFiles):
    """Starlette's static files under our headers, of some files by the names given to them.

    A request's path is looked up among these names and never made into a path of the disk.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__()
        self._files = files

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Where the file of this name is, and its state."""
        file = self._files.get(path)
        return ("", None) if file is None else (str(file), file.stat())

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304 where the browser has it already."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def files_of(folder: Path) -> dict[str, Path]:
    """The files in a folder and below, by their names there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def client() -> dict[str, Path]:
    """The JavaScript client, which the page uses; packaged, it lies in the page's folder."""
    source = Path(__file__).resolve().parents[3] / "clients" / "js" / "src"  # of a checkout
    return {f"atpn/{name}": path for name, path in files_of(source).items()}


def swagger_ui() -> dict[str, Path]:
    """Swagger UI's files, from the package that brings them for use without a network."""
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("fastapi-offline, which brings Swagger UI")
    return {name: Path(package.origin).parent / "static" / name for name in SWAGGER_UI}


FILES = client() | files_of(FOLDER) | swagger_ui()
#: What is served without a key.
PATHS = frozenset(["/", "/docs", *(f"/web/{name}" for name in FILES)])

page_files = PageFiles(FILES)


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page."""
    return await page_files.get_response(INDEX, request.scope)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """The OpenAPI document to read and try, in Swagger UI."""
    return await page_files.get_response(DOCS, request.scope)


@router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
async def part(request: Request, name: str) -> Response:
    """A file of the page."""
    return await page_files.get_response(name, request.scope)

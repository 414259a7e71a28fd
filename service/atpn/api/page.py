"""GET /, GET /docs and their files: read once, served under a strict content security policy.

Nothing comes from another host: Swagger UI is a package's copy. The pages are open where API
keys are set: they show nothing of their own and ask for a key themselves.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("web")
INDEX, DOCS = "index.html", "docs.html"
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
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


@dataclass(frozen=True)
class WebFile:
    """One file of the page and what identifies its content."""

    data: bytes
    media_type: str
    etag: str


def read_files(paths: Iterable[Path | Traversable]) -> dict[str, WebFile]:
    """Those of the files that a page may consist of, by name."""
    return {
        path.name: WebFile(
            data := path.read_bytes(),
            MEDIA_TYPES[Path(path.name).suffix],
            f'"{hashlib.sha256(data).hexdigest()[:32]}"',
        )
        for path in paths
        if Path(path.name).suffix in MEDIA_TYPES
    }


def swagger_ui() -> list[Traversable]:
    """Swagger UI's files, from the package that brings them for use without a network."""
    return [resources.files("fastapi_offline").joinpath("static", name) for name in SWAGGER_UI]


FILES = read_files([*sorted(FOLDER.iterdir()), *swagger_ui()])
#: What is served without a key.
PATHS = frozenset(["/", "/docs", *(f"/web/{name}" for name in FILES)])


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page."""
    return answer(request, FILES[INDEX])


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """The OpenAPI document to read and try, in Swagger UI."""
    return answer(request, FILES[DOCS])


@router.api_route("/web/{name}", methods=["GET", "HEAD"])
async def part(request: Request, name: str) -> Response:
    """A file of the page, by a name that was there at start: no path is ever made of it."""
    if name not in FILES:
        raise HTTPException(404)
    return answer(request, FILES[name])


def answer(request: Request, file: WebFile) -> Response:
    """The file, or 304 where the browser has it already."""
    headers = HEADERS | {"ETag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers=headers, media_type=file.media_type)

"""GET / and the files of the page: read once, served under a strict content security policy.

The page is open where API keys are set: it shows nothing of its own and asks for a key itself.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("web")
INDEX = "index.html"
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
    "img-src": "'self' blob:",
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


def read_files(folder: Path) -> dict[str, WebFile]:
    """The files of ``folder`` that the page may consist of, by name."""
    return {
        path.name: WebFile(
            data := path.read_bytes(),
            MEDIA_TYPES[path.suffix],
            f'"{hashlib.sha256(data).hexdigest()[:32]}"',
        )
        for path in sorted(folder.iterdir())
        if path.suffix in MEDIA_TYPES
    }


FILES = read_files(FOLDER)
#: What is served without a key.
PATHS = frozenset(["/", *(f"/web/{name}" for name in FILES)])


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page."""
    return answer(request, FILES[INDEX])


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

"""Who may use the service: API keys, known by their SHA-256 digest only, and browsers' origins."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from atpn.errors import ForbiddenOrigin, Unauthorized

KEY_SUBPROTOCOL = "atpn.key."


def check_key(
    accepted: list[str], headers: Mapping[str, str], subprotocols: Iterable[str] = ()
) -> str | None:
    """The start of the key's digest; None where no keys are set, Unauthorized without one of them.

    The key comes as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``; on a WebSocket of a
    browser, which can set no headers, as an offered subprotocol (see `offered_key`). All digests
    are compared, each in constant time.
    """
    if not accepted:
        return None
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = headers.get("x-api-key", "") or offered_key(subprotocols)
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    matches = [hmac.compare_digest(digest, known.lower()) for known in accepted]
    if not any(matches):
        raise Unauthorized("send a valid key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    return digest[:16]


def client_of(connection: HTTPConnection, key: str | None) -> str:
    """Who is limited: the holder of a key, else an address."""
    return key or (connection.client.host if connection.client else "unknown")


def offered_key(subprotocols: Iterable[str]) -> str:
    """The key in ``atpn.key.<base64url of the key's UTF-8, no padding>``; empty without one.

    The service never selects that subprotocol, so no answer repeats the key.
    """
    for name in subprotocols:
        if name.startswith(KEY_SUBPROTOCOL):
            text = name.removeprefix(KEY_SUBPROTOCOL)
            try:
                padded = text + "=" * (-len(text) % 4)
                return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
            except ValueError:  # not base64, not UTF-8
                return ""
    return ""


def check_origin(allowed: list[str], headers: Mapping[str, str]) -> None:
    """ForbiddenOrigin for a browser's page of another site, unless its origin is allowed.

    Browsers do not keep pages from opening WebSockets to other sites: the server has to. Other
    clients send no Origin.
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed or "*" in allowed:
        return
    try:
        host = urlsplit(origin).netloc
    except ValueError:  # no URL at all
        host = ""
    if host != headers.get("host"):
        raise ForbiddenOrigin(f"pages of {origin} may not open streams: see ATPN_CORS_ORIGINS")

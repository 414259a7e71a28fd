"""API keys: accepted ones are known by their SHA-256 digest only."""

import hashlib
import hmac
from collections.abc import Mapping

from atpn.errors import Unauthorized


def check_key(accepted: list[str], headers: Mapping[str, str]) -> None:
    """Unauthorized unless no keys are set or the request carries one of them.

    The key comes as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``. All digests are
    compared, each in constant time.
    """
    if not accepted:
        return
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = headers.get("x-api-key", "")
    digest = hashlib.sha256(key.strip().encode()).hexdigest()
    matches = [hmac.compare_digest(digest, known.lower()) for known in accepted]
    if not any(matches):
        raise Unauthorized("send a valid key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")

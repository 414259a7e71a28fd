"""Puts the digests of the foreign images into the files that name them, or checks those there.

    python docker/pin.py [--check] [--registry URL]

A tag can be moved, a digest cannot. Each image of FILES is looked up in its registry by the
distribution API, and the digest of what its tag names now is written behind the tag, as
``name:tag@sha256:...``: of the list for all platforms, where there is one. --check writes nothing
and ends with 1 where a digest is missing or is not the tag's any more; 2 means that a registry did
not answer, and nothing was written.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    ROOT / "docker" / "Dockerfile",
    ROOT / "docker" / "compose.yaml",
    ROOT / "k8s" / "components" / "redis" / "deployment.yaml",
    ROOT / "k8s" / "examples" / "triton" / "deployment.yaml",
]
#: Where an image is named: a Dockerfile's argument, an image of Compose or Kubernetes. Ours have no
#: registry: they are built here.
NAMED = re.compile(r"^(ARG \w+_IMAGE=|\s*image: )(?!atpn\b)(\S+)$", re.MULTILINE)
TAGGED = re.compile(r"(?P<name>\S+?):(?P<tag>[\w.-]+)(@(?P<digest>sha256:[0-9a-f]{64}))?")
HUB = "registry-1.docker.io"
MANIFESTS = ", ".join(
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)


class RegistryError(Exception):
    """A registry that does not answer, or answers something else."""


@dataclass(frozen=True)
class Reference:
    """A named image: where it lies, its tag, and the digest that is known of it."""

    name: str  # as it is written, without tag and digest
    tag: str
    digest: str | None

    @property
    def host(self) -> str:
        """The registry; Docker Hub's where none is named."""
        first, _, rest = self.name.partition("/")
        return first if rest and re.search(r"[.:]|^localhost$", first) else HUB

    @property
    def repository(self) -> str:
        """The path within the registry."""
        path = self.name.removeprefix(f"{self.host}/")
        return f"library/{path}" if self.host == HUB and "/" not in path else path

    def pinned(self, digest: str) -> str:
        """The reference with this digest."""
        return f"{self.name}:{self.tag}@{digest}"


def reference(text: str) -> Reference:
    """``name:tag`` or ``name:tag@digest`` taken apart; ValueError for others."""
    known = TAGGED.fullmatch(text)
    if not known:
        raise ValueError(f"{text!r} is no name:tag")
    return Reference(known["name"], known["tag"], known["digest"])


def digest_of(client: httpx.Client, image: Reference, registry: str | None = None) -> str:
    """What the image's tag names now; RegistryError."""
    base = registry or f"https://{image.host}"
    url = f"{base}/v2/{image.repository}/manifests/{image.tag}"
    try:
        answer = client.get(url, headers={"Accept": MANIFESTS})
        if answer.status_code == 401:
            pass_ = token(client, answer.headers.get("WWW-Authenticate", ""))
            headers = {"Accept": MANIFESTS, "Authorization": f"Bearer {pass_}"}
            answer = client.get(url, headers=headers)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise RegistryError(f"{url}: {error}") from error
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    claimed = answer.headers.get("Docker-Content-Digest", digest)
    if claimed != digest:
        raise RegistryError(
            f"{url}: the manifest's digest is {digest}, not {claimed} as is claimed"
        )
    return digest


def token(client: httpx.Client, challenge: str) -> str:
    """A pass to read, from the place that the challenge names."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if "realm" not in fields:
        raise RegistryError(f"no place to get a token from: {challenge!r}")
    answer = client.get(fields.pop("realm"), params=fields)
    answer.raise_for_status()
    found = answer.json()
    return str(found.get("token") or found.get("access_token"))


def pinned(text: str, digests: dict[str, str]) -> str:
    """A file's text with the digest of each image; by the reference as it stood there."""
    return NAMED.sub(lambda m: m[1] + reference(m[2]).pinned(digests[m[2]]), text)


def changes(found: dict[str, str]) -> list[str]:
    """A line for each image whose digest is not the known one."""
    lines = []
    for text, digest in found.items():
        known = reference(text).digest
        if known != digest:
            lines.append(f"{text.partition('@')[0]}: {known or 'no digest'} -> {digest}")
    return lines


def main(arguments: Sequence[str] | None = None, files: Sequence[Path] = FILES) -> int:
    """Look up, compare, and write what has changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where one differs")
    parser.add_argument("--registry", help="ask this one for all images, e.g. a mirror")
    options = parser.parse_args(arguments)
    texts = {path: path.read_text() for path in files}
    images = dict.fromkeys(m[2] for text in texts.values() for m in NAMED.finditer(text))
    try:
        with httpx.Client(timeout=20, follow_redirects=True) as client:
            found = {name: digest_of(client, reference(name), options.registry) for name in images}
    except RegistryError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 2
    lines = changes(found)
    print("\n".join(lines) or f"all {len(found)} digests are those of their tags")
    if options.check:
        return int(bool(lines))
    for path, text in texts.items():
        path.write_text(pinned(text, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

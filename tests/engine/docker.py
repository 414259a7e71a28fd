"""The Docker engine that is there, asked by its command line."""

import json
import os
import re
import shutil
import subprocess
from typing import Any

from tests.deploy.files import DOCKERFILE, ROOT

WAIT_S = 1200  # for a build or a start
#: A first line that names the Dockerfile's language; the engine has to fetch it.
FRONTEND = re.compile(r"# syntax=.*\n")
#: What an engine says that has an image neither here nor from a registry.
MISSING = re.compile(r"failed to resolve source metadata for docker\.io/(?:library/)?(\S+?): ")


class DockerError(Exception):
    """A command that failed, and what it said last."""


class ImageMissing(DockerError):
    """A base image that is not here and cannot be pulled; its name."""


def docker(*arguments: str, stdin: str | None = None, **environment: str) -> str:
    """What a docker command prints; DockerError where it fails."""
    done = subprocess.run(
        ["docker", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        env=os.environ | environment,
        check=False,
    )
    if done.returncode:
        raise DockerError(f"docker {' '.join(arguments[:4])}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def why_not() -> str | None:
    """Why there is no engine to test on; None where there is one."""
    if shutil.which("docker") is None:
        return "there is no docker on the PATH"
    try:
        docker("version", "--format", "{{.Server.Version}}")
        docker("compose", "version")
    except DockerError as error:
        return f"no Docker engine with Compose answers: {error}"
    return None


def inspected(name: str) -> dict[str, Any]:
    """What the engine knows of a container, an image or a network."""
    (found,) = json.loads(docker("inspect", name))
    return dict(found)


def at_hand(image: str) -> bool:
    """Whether an image is here, or has been pulled now."""
    try:
        inspected(image)
    except DockerError:
        try:
            docker("pull", "--quiet", image)
        except DockerError:
            return False
    return True


def build(target: str, tag: str, **arguments: str) -> None:
    """Build a target of the project's Dockerfile; ImageMissing where a base image is.

    Where the Dockerfile's own frontend cannot be pulled, the engine's is taken.
    """
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    command = ("build", "--target", target, "-t", tag, *given, "-f")
    try:
        docker(*command, str(DOCKERFILE), str(ROOT))
    except DockerError as error:
        missing = MISSING.search(str(error))
        if missing and missing[1].startswith("docker/dockerfile:"):
            print(f"{missing[1]} cannot be pulled: built with the engine's own frontend")  # noqa: T201
            _build_without_frontend(command)
        elif missing:
            raise ImageMissing(missing[1]) from error
        else:
            raise


def _build_without_frontend(command: tuple[str, ...]) -> None:
    text = FRONTEND.sub("", DOCKERFILE.read_text(), count=1)
    try:
        docker(*command, "-", str(ROOT), stdin=text)
    except DockerError as error:
        missing = MISSING.search(str(error))
        if missing is None:
            raise
        raise ImageMissing(missing[1]) from error

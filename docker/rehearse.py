"""Carries out the Dockerfile's steps without a Docker engine, and starts what comes out.

    python docker/rehearse.py [--keep FOLDER]

It reads docker/Dockerfile itself: every COPY, RUN and ENV line of the stages that the target
needs is carried out as it stands there, in an empty folder and an empty environment, with this
machine's Python in place of the base image. Then the image's own command is started on the
loopback interface, the health check is run, and one photograph is aligned.

What an engine would do and this cannot: the base image's own files. As root on Linux the service
runs as the image's user and sees a read-only file system with an empty /tmp; for others this
says that it was left out.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
PHOTO = ROOT / "tests" / "photos" / "astronaut.jpg"
START_S = 60.0
#: Top folders of an image that a step may name; they become folders of the rehearsal.
FOLDERS = ("opt", "src", "build", "wheels")
#: What the steps may know of this machine: how packages are fetched.
PASSED = re.compile(r"PIP_\w+|\w+_proxy|SSL_CERT_\w+|REQUESTS_CA_BUNDLE", re.IGNORECASE)


class RehearsalError(Exception):
    """A step that failed, or that this script does not know."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its word and the rest, continued lines joined."""

    word: str
    rest: str

    @property
    def flags(self) -> dict[str, str]:
        """The leading ``--name=value`` options."""
        return dict(re.findall(r"(?:^|(?<=\s))--([a-z-]+)=(\S+)", self.rest.split('"')[0]))

    @property
    def body(self) -> str:
        """The rest without its leading options."""
        return re.sub(r"^(--[a-z-]+=\S+\s+)+", "", self.rest)


@dataclass
class Stage:
    """One FROM and what follows it."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, word: str) -> Instruction | None:
        """The instruction that counts where a later one replaces an earlier one."""
        return next((i for i in reversed(self.instructions) if i.word == word), None)


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.strip().split(None, 1) for line in joined.splitlines() if line.strip())
    return [Instruction(word.upper(), rest) for word, rest in pairs]


def stages_of(text: str) -> dict[str, Stage]:
    """Name -> stage, with the defaults of global ARGs put into the FROM lines."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for step in parse(text):
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            current = Stage(name, base)
            stages[name] = current
        elif current is None:
            name, _, default = step.rest.partition("=")
            arguments[name] = default
        else:
            current.instructions.append(step)
    for stage in stages.values():
        stage.base = expanded(stage.base, arguments)
    return stages


def expanded(text: str, values: dict[str, str]) -> str:
    """``$NAME`` and ``${NAME}`` replaced by what is known of them."""
    return re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m[1], m[0]), text)


def needed(stages: dict[str, Stage], target: str) -> list[Stage]:
    """The target and all it is built from, in the order of building."""
    stage = stages[target]
    sources = [i.flags["from"] for i in stage.instructions if "from" in i.flags]
    before = [s for name in (stage.base, *sources) if name in stages for s in needed(stages, name)]
    return list({s.name: s for s in [*before, stage]}.values())


class Rehearsal:
    """Builds stage after stage under ``folder``; the stage in work is always ``folder/root``."""

    def __init__(self, folder: Path, python: str, context: Path = ROOT) -> None:
        self.folder = folder
        self.root = folder / "root"
        self._context = context
        self._environment = {k: v for k, v in os.environ.items() if PASSED.fullmatch(k)}
        self._environment |= {"HOME": str(folder / "home"), "PATH": self._path(python)}
        self.image: dict[str, str] = {}
        self._workdir = self.root

    def _path(self, python: str) -> str:
        """A search path whose ``python`` and ``python3`` are the base image's stand-in."""
        tools = self.folder / "python"
        tools.mkdir(parents=True)
        (self.folder / "home").mkdir()
        for name in ("python", "python3"):
            (tools / name).symlink_to(python)
        return f"{tools}:/usr/bin:/bin"

    def build(self, stages: list[Stage]) -> None:
        """Carry out the steps of each stage; RehearsalError names the one that failed."""
        for stage in stages:
            if not stage.base.startswith("python:"):
                raise RehearsalError(f"stage {stage.name}: no stand-in for {stage.base}")
            self.root.mkdir()
            self.image, self._workdir = {"PATH": self._environment["PATH"]}, self.root
            for step in stage.instructions:
                print(f"[{stage.name}] {step.word} {step.rest[:90]}", flush=True)
                self._carry_out(step)
            if stage is not stages[-1]:
                self.root.rename(self.folder / stage.name)

    def _carry_out(self, step: Instruction) -> None:
        known: dict[str, Callable[[Instruction], None]] = {
            "WORKDIR": self._enter,
            "COPY": self._copy,
            "RUN": self._run,
            "ENV": self._set,
        }
        told = {"ARG", "LABEL", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
        if step.word in known:
            known[step.word](step)
        elif step.word not in told:
            raise RehearsalError(f"unknown instruction {step.word}")

    def placed(self, text: str) -> str:
        """Absolute paths of the image as paths of the rehearsal."""
        names = "|".join(FOLDERS)
        return re.sub(rf"(?<![\w./-])/({names})(?=[/\s:]|$)", rf"{self.root}/\1", text)

    def _enter(self, step: Instruction) -> None:
        self._workdir = Path(self.placed(step.rest))
        self._workdir.mkdir(parents=True, exist_ok=True)

    def _set(self, step: Instruction) -> None:
        for pair in shlex.split(step.rest):
            name, _, value = pair.partition("=")
            self.image[name] = self.placed(expanded(value, self.image))

    def _copy(self, step: Instruction) -> None:
        *sources, target = step.body.split()
        into = self._workdir / self.placed(target)
        stage = step.flags.get("from")
        base = self._context if stage is None else self.folder / stage
        for source in sources:
            found = base / source.lstrip("/")
            if not found.exists():
                raise RehearsalError(f"COPY: there is no {source} in {stage or 'the context'}")
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if stage is None else None
                shutil.copytree(found, into, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            elif target.endswith("/"):
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, into)
            else:
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, into)

    def _run(self, step: Instruction) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", self.placed(step.body)],
            cwd=self._workdir,
            env=self._environment | self.image,
            check=False,
        )
        if done.returncode:
            raise RehearsalError(f"RUN {step.body}: exit code {done.returncode}")


def stand_in() -> str:
    """A Python that every user may run, of a supported version, with its venv module."""
    test = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))"
    for python in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        if Path(python).exists():
            done = subprocess.run([python, "-c", test], capture_output=True, check=False)
            if done.returncode == 0:
                return str(Path(python).resolve())
    raise RehearsalError("no Python with venv; on Debian: apt-get install python3-venv")


def confined(user: str, command: list[str]) -> tuple[list[str], list[str]]:
    """The command as the image's user on a read-only file system, and what was left out."""
    if os.geteuid() != 0:
        return command, ["the image's user and the read-only file system (needs root)"]
    uid, _, gid = user.partition(":")
    drop = ["setpriv", f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups"]
    drop += ["--no-new-privs", "--bounding-set=-all"]
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if probe.returncode:
        return [*drop, *command], ["the read-only file system (no mount namespace to be had)"]
    script = 'mount -o remount,bind,ro / && mount -t tmpfs tmpfs /tmp && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *drop, *command], []


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Started:
    """The image's command, running on the loopback interface."""

    process: subprocess.Popen[bytes]
    port: int
    environment: dict[str, str]
    left_out: list[str]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "image/jpeg"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def wait_ready(self) -> float:
        """Seconds until /readyz answered 200; RehearsalError if it does not."""
        begun = time.monotonic()
        while time.monotonic() - begun < START_S:
            if self.process.poll() is not None:
                raise RehearsalError(f"the service ended with {self.process.returncode}")
            with contextlib.suppress(OSError):
                if self.ask("GET", "/readyz")[0] == 200:
                    return time.monotonic() - begun
            time.sleep(0.1)
        raise RehearsalError(f"the service was not ready within {START_S:.0f} s")


@contextlib.contextmanager
def started(rehearsal: Rehearsal, stage: Stage, **settings: str) -> Iterator[Started]:
    """The image's command with its own environment and user, ended with the block."""
    port = int(settings.get("ATPN_PORT") or free_port())
    environment = rehearsal.image | {"ATPN_HOST": "127.0.0.1", **settings, "ATPN_PORT": str(port)}
    user = stage.last("USER")
    if user is None:
        raise RehearsalError("the image would run as root: there is no USER")
    entry, arguments = stage.last("ENTRYPOINT"), stage.last("CMD")
    words = [word for part in (entry, arguments) if part for word in json.loads(part.rest)]
    command = [shutil.which(words[0], path=environment["PATH"]) or words[0], *words[1:]]
    command, left_out = confined(user.rest, command)
    process = subprocess.Popen(command, env=environment, cwd="/")
    try:
        yield Started(process, port, environment, left_out)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def check(service: Started, stage: Stage) -> None:
    """The image's promises: ready, healthy by its own check, one face found, ends when told."""
    print(f"ready after {service.wait_ready():.1f} s")
    health = stage.last("HEALTHCHECK")
    if health is None:
        raise RehearsalError("there is no HEALTHCHECK")
    words = json.loads(health.body.removeprefix("CMD "))
    words[0] = shutil.which(words[0], path=service.environment["PATH"]) or words[0]
    subprocess.run(words, env=service.environment, check=True, timeout=10)
    print("healthy by its own HEALTHCHECK")
    status, body = service.ask("POST", "/align", PHOTO.read_bytes())
    faces = json.loads(body).get("faces", [])
    if status != 200 or len(faces) != 1:
        raise RehearsalError(f"/align answered {status} with {len(faces)} faces")
    print(f"/align: one face, confidence {faces[0]['confidence']}")
    service.process.send_signal(signal.SIGTERM)
    code = service.process.wait(30)
    if code != 0:
        raise RehearsalError(f"the service ended with {code} after SIGTERM")
    print("ended with 0 after SIGTERM")


def sizes(root: Path) -> dict[str, int]:
    """Bytes that the last stage copies, by package folder, largest first."""
    found: dict[str, int] = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            parts = path.relative_to(root).parts
            package = parts[parts.index("site-packages") + 1] if "site-packages" in parts else "/"
            found[package] = found.get(package, 0) + path.stat().st_size
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Rehearse the target cpu; 0 where everything held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="build in this empty folder, and leave it there")
    options = parser.parse_args(arguments)
    stages = stages_of(DOCKERFILE.read_text())
    folder = options.keep or Path(tempfile.mkdtemp(prefix="atpn-rehearsal-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    try:
        rehearsal = Rehearsal(folder, stand_in())
        rehearsal.build(needed(stages, "cpu"))
        with started(rehearsal, stages["cpu"]) as service:
            check(service, stages["cpu"])
        left_out = service.left_out
        found = sizes(rehearsal.root)
    except RehearsalError as error:
        print(f"rehearsal: {error}", file=sys.stderr)
        return 1
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
    for package, size in list(found.items())[:8]:
        print(f"{size / 1e6:8.1f} MB  {package}")
    print(f"{sum(found.values()) / 1e6:8.1f} MB  in all, on top of the base image")
    for missing in left_out:
        print(f"not rehearsed: {missing}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

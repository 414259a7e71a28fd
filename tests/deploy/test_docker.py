"""The Dockerfile, its lock files, and their rehearsal without an engine."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import rehearse
from tests.deploy.files import DOCKERFILE, ROOT, SETTINGS, accepted

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
STAGES = rehearse.stages_of(DOCKERFILE.read_text())


def locked(name: str) -> dict[str, str]:
    """Package -> version of a lock file."""
    text = (ROOT / "docker" / f"requirements-{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


def direct(name: str) -> list[str]:
    """What pyproject.toml asks for, for the lock file of that name."""
    if name == "build":
        required: list[str] = PROJECT["build-system"]["requires"]
        return required
    return [*PROJECT["project"]["dependencies"], *extra(name)]


def extra(name: str) -> list[str]:
    """What an extra asks for, with the extras of our own that it names."""
    found = []
    for text in PROJECT["project"]["optional-dependencies"][name]:
        wanted = Requirement(text)
        if wanted.name == "atpn":
            found += [text for inner in wanted.extras for text in extra(inner)]
        else:
            found.append(text)
    return found


@pytest.mark.parametrize("name", ["cpu", "gpu", "build"])
def test_every_dependency_is_locked_at_a_version_that_satisfies_it(name: str) -> None:
    versions = locked(name)
    for text in direct(name):
        wanted = Requirement(text)
        assert Version(versions[wanted.name]) in wanted.specifier, f"{text}: run make lock"


@pytest.mark.parametrize("name", ["cpu", "gpu", "build"])
def test_every_locked_package_has_hashes_and_none_names_a_registry(name: str) -> None:
    text = (ROOT / "docker" / f"requirements-{name}.lock").read_text()
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(packages) == len(locked(name))
    assert all("--hash=sha256:" in package for package in packages)
    assert re.search(r"://|--(extra-)?index-url|--find-links", text) is None


def test_the_gpu_image_has_a_runtime_for_the_cuda_of_its_base_image() -> None:
    assert re.match(r"nvidia/cuda:12\.\d+\.\d+-cudnn-runtime-", STAGES["cuda-python"].base)
    assert Version(locked("gpu")["onnxruntime-gpu"]) < Version("1.27")
    assert "onnxruntime" not in locked("gpu")
    assert "onnxruntime-gpu" not in locked("cpu")


def test_every_base_image_has_a_version() -> None:
    bases = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    assert bases
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_runs_the_service_as_a_numbered_user_that_is_not_root(target: str) -> None:
    stage = STAGES[target]
    user, entry, command = (stage.last(word) for word in ("USER", "ENTRYPOINT", "CMD"))
    assert user is not None
    assert all(int(part) > 0 for part in user.rest.split(":"))
    assert entry is not None
    assert command is not None
    assert (entry.rest, command.rest) == ('["atpn"]', '["serve"]')
    assert stage.last("HEALTHCHECK") is not None


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_final_image_is_copied_together_without_running_anything(target: str) -> None:
    """No compiler, cache or lock file is left in it."""
    words = [step.word for step in STAGES[target].instructions]
    assert "RUN" not in words
    assert [i.flags for i in STAGES[target].instructions if i.word == "COPY"] == [
        {"from": f"{target}-packages"}
    ]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_every_setting_of_an_image_is_one_of_the_service(target: str) -> None:
    text = " ".join(step.rest for step in STAGES[target].instructions if step.word == "ENV")
    pairs = re.findall(r"(ATPN_\w+)=(\S+)", text)
    assert {"ATPN_HOST", "ATPN_DEVICE"} <= {name for name, _ in pairs} <= SETTINGS
    assert [accepted(name, value) for name, value in pairs]


def test_the_cpu_and_gpu_targets_differ_only_in_their_packages_and_device() -> None:
    def steps(target: str) -> list[str]:
        text = [f"{i.word} {i.rest}" for i in STAGES[target].instructions]
        return [re.sub(r"\bgpu\b|\bcuda\b", "cpu", t) for t in text if not t.startswith("LABEL")]

    def timeless(steps: list[str]) -> list[str]:
        return [re.sub(r"--start-period=\S+", "", step) for step in steps]

    assert timeless(steps("gpu")) == timeless(steps("cpu"))


def admitted(path: str) -> bool:
    """Whether .dockerignore leaves a path, or something below it, in the build context."""
    rules = [r for r in (ROOT / ".dockerignore").read_text().splitlines() if r and r[0] != "#"]
    kept = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        if fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/"):
            kept = rule.startswith("!")
    return kept


def copied() -> list[str]:
    """What the Dockerfile takes from the project's folder."""
    return [
        source
        for stage in STAGES.values()
        for step in stage.instructions
        if step.word == "COPY" and "from" not in step.flags
        for source in step.body.split()[:-1]
    ]


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = copied()
    for part in [*wheel["packages"], *wheel["force-include"]]:
        assert any(part == source or part.startswith(f"{source}/") for source in sources), part


def test_everything_that_is_copied_is_there_and_in_the_build_context() -> None:
    sources = copied()
    assert {"service", "models", "docker/requirements-cpu.lock"} <= set(sources)
    assert [s for s in sources if not (ROOT / s).exists() or not admitted(s)] == []


@pytest.mark.parametrize("path", [".git/config", "models/checkpoints/atpn-1.pt", "tests", ".venv"])
def test_what_the_image_does_not_need_stays_out_of_the_build_context(path: str) -> None:
    assert not admitted(path)


def test_continued_lines_and_comments_are_read_as_docker_reads_them() -> None:
    steps = rehearse.parse("# syntax=x\nRUN a \\\n  # why\n  && b\nCOPY --from=x --chmod=1 /a /b\n")
    assert [step.word for step in steps] == ["RUN", "COPY"]
    assert steps[0].rest.split() == ["a", "&&", "b"]
    assert (steps[1].flags, steps[1].body) == ({"from": "x", "chmod": "1"}, "/a /b")


def test_a_target_is_built_after_the_stages_it_copies_from() -> None:
    names = [stage.name for stage in rehearse.needed(STAGES, "cpu")]
    assert names == ["wheel", "cpu-packages", "cpu"]


def small(folder: Path, *lines: str) -> list[rehearse.Stage]:
    """The stages of a Dockerfile of these lines, whose context is ``folder``."""
    text = "\n".join(["FROM python:3 AS one", *lines])
    stages = rehearse.stages_of(text)
    (folder / "given").write_text("from the context")
    return rehearse.needed(stages, list(stages)[-1])


def test_steps_are_carried_out_in_the_stages_own_folders(tmp_path: Path) -> None:
    stages = small(
        tmp_path,
        "WORKDIR /src",
        "COPY given ./",
        "RUN mkdir /opt && cp given /opt/taken",
        "FROM python:3 AS two",
        "COPY --from=one /opt /opt",
        "ENV PLACE=/opt/bin WHOLE=$PLACE:x",
    )
    rehearsal = rehearse.Rehearsal(tmp_path / "work", sys.executable, tmp_path)
    rehearsal.build(stages)
    assert (rehearsal.root / "opt" / "taken").read_text() == "from the context"
    assert not (rehearsal.root / "src").exists()
    assert rehearsal.image["PLACE"] == f"{rehearsal.root}/opt/bin"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("RUN exit 3", "exit code 3"),
        ("COPY missing ./", "no missing in the context"),
        ("ONBUILD RUN true", "unknown instruction ONBUILD"),
    ],
)
def test_a_step_that_fails_or_is_not_known_ends_the_rehearsal(
    line: str, complaint: str, tmp_path: Path
) -> None:
    rehearsal = rehearse.Rehearsal(tmp_path / "work", sys.executable, tmp_path)
    with pytest.raises(rehearse.RehearsalError, match=complaint):
        rehearsal.build(small(tmp_path, line))


@pytest.mark.long
def test_the_cpu_image_can_be_built_step_by_step_and_serves() -> None:
    done = subprocess.run(
        [sys.executable, "docker/rehearse.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "/align: one face" in done.stdout
    assert "ended with 0 after SIGTERM" in done.stdout

"""What the documentation shows can be run: its curl, its Python, its tutorial."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atpn.geometry import rotation_from_euler
from tests import clips
from tests.conftest import Service
from tests.server import Server, running

ROOT = Path(__file__).resolve().parents[1]
SHOWN_URL = "127.0.0.1:8000"
CURLS = [
    (name, block)
    for name in ("README.md", "docs/http.md")
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    if "curl" in block
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running service."""
    with running() as started:
        yield started


def python_block(name: str, number: int = 1, of: int = 1) -> str:
    """The program in a document, or one of several."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert len(blocks) == of
    return str(blocks[number - 1])


def ran(code: str, server: Server, *arguments: object) -> str:
    """What a program prints, run in the project's folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", at(server, code), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def at(server: Server, text: str) -> str:
    """An example, to be run on ``server``."""
    return text.replace(SHOWN_URL, f"127.0.0.1:{server.port}")


async def test_the_readmes_curl_gives_the_answer_that_stands_below_it(service: Service) -> None:
    """Timings differ from run to run; the rest is what a reader sees."""
    text = (ROOT / "README.md").read_text()
    example = re.search(r"--data-binary @(\S+) .*?'http://[^/]+(/[^']+)'", text, re.DOTALL)
    shown_answer = re.search(r"```json\n(\{\n.*?)```", text, re.DOTALL)
    assert example
    assert shown_answer
    expected = json.loads(shown_answer[1])
    answer = await service.post(example[2], (ROOT / example[1]).read_bytes())
    found = answer.json()
    assert found["ms"].keys() == expected["ms"].keys()
    assert found["image"] == expected["image"]
    assert found["model"] == expected["model"]
    for own, told in zip(found["faces"], expected["faces"], strict=True):
        np.testing.assert_allclose(own["landmarks"], told["landmarks"], atol=0.5)
        np.testing.assert_allclose(own["pose"]["rotation"], told["pose"]["rotation"], atol=0.01)
        assert own["confidence"] == pytest.approx(told["confidence"], abs=0.01)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("name", "block"), CURLS, ids=[str(i) for i in range(len(CURLS))])
def test_every_shown_curl_is_answered(
    name: str, block: str, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    script = at(server, block).replace("curl -s", "curl --fail-with-body -s")
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{name}: {done.stdout[:300]!r} {done.stderr[:300]!r}"
    answers = done.stdout.replace(b"}{", b"}\n{").splitlines()
    answers += [path.read_bytes() for path in tmp_path.glob("*.jpg")]
    assert len(answers) == block.count("curl -s")
    assert all(answer.startswith((b"{", b"\xff\xd8")) for answer in answers)


def test_the_readmes_program_prints_the_face(server: Server) -> None:
    assert re.fullmatch(
        r"Box\(.*\) 1\.0 \(98, 2\) -?0\.\d+\n", ran(python_block("README.md"), server)
    )


def test_the_clients_program_follows_the_face(server: Server) -> None:
    first, *frames = ran(python_block("docs/clients.md", 1, of=2), server).splitlines()
    assert "(98, 2)" in first
    assert frames[-3:] == ["0 detected [1]", "1 tracked [1]", "2 tracked [1]"]


def test_the_program_without_a_service_follows_the_face(server: Server) -> None:
    first, *frames = ran(python_block("docs/clients.md", 2, of=2), server).splitlines()
    assert first.startswith("Box(")
    assert frames == ["0 detected [1]", "1 tracked [1]", "2 tracked [1]"]


def test_the_programs_for_those_who_come_from_elsewhere_say_the_same_in_all_terms(
    server: Server,
) -> None:
    shown = ran(python_block("docs/coming_from.md", 1, of=2), server)
    x, y = np.array(re.findall(r"\d+\.\d*", shown), np.float32).reshape(3, 2).T
    assert np.ptp(x) == np.ptp(y) == 0
    turned = rotation_from_euler(0.3, -0.2, 0.1)
    program = python_block("docs/coming_from.md", 2, of=2)
    program = program.replace(
        "np.eye(4)", f"np.diag([1, -1, -1]) @ {turned.tolist()} @ np.diag([1, -1, -1])"
    )
    told = ran(f"{program}\nprint(yaw, pitch, roll)", server).split()
    assert np.radians([float(angle) for angle in told]) == pytest.approx([0.3, -0.2, 0.1])


def test_the_streams_program_follows_the_face(server: Server) -> None:
    out = ran(python_block("docs/track.md"), server).splitlines()
    assert out == ["1 detected [1]", "2 tracked [1]", "3 tracked [1]"]


def test_the_tutorials_ten_lines_count_blinks(server: Server, tmp_path: Path) -> None:
    program = python_block("docs/tutorial.md", 1, of=2)
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
    video = clips.video(tmp_path / "face.mp4", clips.panning(12))
    assert ran(program, server, video).split("\n")[1:] == ["blinks: 0 "] * 12


@pytest.mark.parametrize("number", [1, 2])
def test_the_tutorials_programs_say_in_one_line_that_there_is_no_such_video(number: int) -> None:
    program = python_block("docs/tutorial.md", number, of=2)
    done = subprocess.run(
        [sys.executable, "-c", program, "nope.mp4"],
        env=os.environ | {"OPENCV_LOG_LEVEL": "SILENT"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("no (such )?camera or video.*\n", done.stderr)


def test_the_tutorials_meter_runs_on_a_video(server: Server, tmp_path: Path) -> None:
    program = python_block("docs/tutorial.md", 2, of=2)
    assert len([line for line in program.splitlines() if line.strip()]) <= 30
    video = clips.video(tmp_path / "face.mp4", clips.panning(12))
    last = ran(program, server, video, server.url).splitlines()[-1]
    told = re.fullmatch(r"blinks (\d+)  yawns (\d+)  attention (\d+) %\s*", last)
    assert told, last
    blinks, yawns, attention = map(int, told.groups())
    assert blinks <= 2
    assert yawns == 0
    assert attention > 70

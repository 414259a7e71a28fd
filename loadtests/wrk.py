"""wrk, the load generator: one prepared request over kept-alive connections."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loadtests.bodies import Request

SCRIPT = Path(__file__).with_suffix(".lua")
ANSWER_S = 10  # the longest wait for an answer


@dataclass(frozen=True)
class Answers:
    """What came back in one run of a load."""

    answers: int
    wall_s: float
    failed: int
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.wall_s


def find_wrk() -> str:
    """Its path; RuntimeError says where to get it."""
    path = shutil.which("wrk")
    if not path:
        raise RuntimeError("wrk is missing; on Debian or Ubuntu: sudo apt-get install wrk")
    return path


def run(port: int, request: Request, connections: int, seconds: float, folder: Path) -> Answers:
    """Keep so many connections busy; RuntimeError if an answer is not a 200."""
    body = folder / "body"
    body.write_bytes(request.body)
    done = subprocess.run(
        [
            *(find_wrk(), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
            *("--timeout", f"{ANSWER_S}s", "-s", str(SCRIPT)),
            *(f"http://127.0.0.1:{port}{request.path}", "--", str(body)),
            *(f"{name}: {value}" for name, value in request.headers.items()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 3 * ANSWER_S,
    )
    return parsed(done.stdout)


def parsed(output: str) -> Answers:
    """The line that wrk.lua prints; RuntimeError where it is missing or tells of failures."""
    for line in output.splitlines():
        if line.startswith("result "):
            answers = Answers(**json.loads(line.removeprefix("result ")))
            if answers.failed or not answers.answers:
                raise RuntimeError(f"{answers.failed} of {answers.answers} answers failed")
            return answers
    raise RuntimeError(f"wrk told no result: {output!r}")

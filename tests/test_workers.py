"""Several workers on one port: one sum of metrics, replaced when they die, drained together."""

import os
import signal
import time
from pathlib import Path

import httpx

from tests.server import running


def children(pid: int) -> set[int]:
    """Processes that serve: those of the parent's children that run our code."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"spawn_main" in command:
            found.add(int(stat.parent.name))
    return found


def metric(url: str, name: str) -> float:
    """The value of one sample by its full name with labels; 0 where it is absent."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith(name + " ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_workers_share_a_port_add_up_their_metrics_and_end_together(astronaut_jpeg: bytes) -> None:
    name = 'atpn_requests_total{route="/align",status="200"}'
    with running(workers="2") as server:
        pids = children(server.process.pid)
        assert len(pids) == 2
        seen = []
        for count in range(1, 9):
            # A new connection each time: either worker may take it.
            answer = httpx.post(
                f"{server.url}/align",
                content=astronaut_jpeg,
                headers={"content-type": "image/jpeg"},
                trust_env=False,
                timeout=30,
            )
            assert answer.status_code == 200
            seen.append(metric(server.url, name))
            assert seen[-1] == count
        info = 'atpn_model_info{name="atpn",provider="CPUExecutionProvider",version="1"}'
        assert metric(server.url, info) == 1

        os.kill(min(pids), signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(children(server.process.pid) - {min(pids)}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert metric(server.url, name) == 8  # counters never go back
        assert server.stop() == 0
        assert all(not Path(f"/proc/{pid}").exists() for pid in pids)

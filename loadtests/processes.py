"""A server as a tree of processes: started, measured by /proc, ended."""

import os
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # the kernel's unit of CPU time
STOP_S = 8  # from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Task:
    """What /proc tells of a process or thread."""

    name: str
    parent: int
    cpu_s: float  # user and system mode


def task(path: Path) -> Task | None:
    """The process or thread of that folder of /proc; None where it has ended."""
    try:
        head, _, tail = (path / "stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = tail.split()
    return Task(
        head.partition("(")[2], int(fields[1]), TICK_S * (int(fields[11]) + int(fields[12]))
    )


def tree(root: int, processes: Mapping[int, Task]) -> list[int]:
    """``root`` and all that descends from it."""
    children = defaultdict(list)
    for pid, process in processes.items():
        children[process.parent].append(pid)
    found = [root]
    for pid in found:
        found.extend(children[pid])
    return [pid for pid in found if pid in processes]


def all_processes() -> dict[int, Task]:
    """What runs on this machine."""
    found = {int(p.name): task(p) for p in Path("/proc").iterdir() if p.name.isdigit()}
    return {pid: process for pid, process in found.items() if process}


def busy_s() -> float:
    """CPU seconds that the machine has worked since it was started, whoever asked for it."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return TICK_S * (int(user) + int(nice) + int(system))


@dataclass(frozen=True)
class Server:
    """A running server: the port it listens on and the process that was started."""

    port: int
    pid: int

    def pids(self) -> list[int]:
        """Of all its processes."""
        return tree(self.pid, all_processes())

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        processes = all_processes()
        return sum(processes[pid].cpu_s for pid in tree(self.pid, processes))

    def threads(self) -> dict[str, float]:
        """CPU seconds so far by thread; those of one name together, a main thread apart."""
        found: dict[str, float] = defaultdict(float)
        for pid in self.pids():
            for path in Path(f"/proc/{pid}/task").iterdir():
                if thread := task(path):
                    main = "main " if path.name == str(pid) else ""
                    found[main + thread.name] += thread.cpu_s
        return dict(found)

    def thread_count(self) -> int:
        """Threads of all its processes."""
        return sum(1 for pid in self.pids() for _ in Path(f"/proc/{pid}/task").iterdir())

    def open_files(self) -> int:
        """Files and sockets that its processes have open."""
        return sum(1 for pid in self.pids() for _ in Path(f"/proc/{pid}/fd").iterdir())

    def memory_mb(self) -> float:
        """MiB of its processes, what they share counted once (PSS)."""
        kib = 0
        for pid in self.pids():
            with suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                kib += int(rollup.partition("\nPss:")[2].split()[0])
        return kib / 1024


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], port: int, log: Path
) -> Iterator[Server]:
    """The command as a server, its output in ``log``; ended with the block, with all children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    server = Server(port, process.pid)
    try:
        yield server
    finally:
        stop(process, server.pids())


def stop(process: "subprocess.Popen[bytes]", pids: Sequence[int]) -> None:
    """Ask the process to end; after STOP_S, end it and what is left of its children."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    time.sleep(0.2)  # children end a moment after their parent
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()

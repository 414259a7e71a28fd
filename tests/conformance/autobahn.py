"""Runs the cases of the Autobahn|Testsuite, by kosoku, and reads what was observed."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_S = 100
AT_ONCE = 32  # cases, most of which wait for a second
KOSOKU = Path(sys.executable).with_name("kosoku")

Event = tuple[Any, ...]  # ("message", payload, binary), ("ping", payload), ("pong", payload), …


@dataclass(frozen=True)
class Report:
    """What Autobahn saw in one case, and its own verdict."""

    case: str
    behavior: str  # OK, NON-STRICT, INFORMATIONAL, UNIMPLEMENTED, FAILED, …
    behavior_close: str
    expected: list[list[Event]]  # each a sequence of events that would do
    received: list[Event]
    given_up: bool  # the client hung up after a second without the answer that it expected
    closed_by_server: bool
    clean: bool
    client_code: int | None  # of the close frame that the client sent
    server_code: int | None  # of the one that it got

    @property
    def verdict(self) -> str:
        """One word: the worse of what happened before the close and in it."""
        return self.behavior if self.behavior != "OK" else self.behavior_close

    @property
    def controls(self) -> list[Event]:
        """The events that are no messages."""
        return without_messages(self.received)

    @property
    def messages(self) -> int:
        """How many messages came."""
        return len(self.received) - len(self.controls)


def without_messages(events: list[Event]) -> list[Event]:
    """The pings and pongs of a sequence."""
    return [event for event in events if event[0] != "message"]


def run(url: str, cases: Iterable[str], excluded: Iterable[str]) -> list[Report]:
    """The reports on these cases (patterns such as ``6.*``) against the server at ``url``.

    RuntimeError where the program fails.
    """
    chosen = [f"--include={case}" for case in cases] + [f"--exclude={case}" for case in excluded]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [KOSOKU, *chosen, f"--parallelism={AT_ONCE}", f"--outdir={folder}", url],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,  # it ends with 1 where a case failed
        )
        index = Path(folder) / "index.json"
        if not index.is_file():
            raise RuntimeError(f"kosoku ended with {done.returncode}: {done.stderr[-500:]}")
        [entries] = json.loads(index.read_text()).values()
        return [_report(Path(folder) / entry["reportfile"]) for entry in entries.values()]


def _report(file: Path) -> Report:
    fields = json.loads(file.read_text())
    return Report(
        case=fields["id"],
        behavior=fields["behavior"],
        behavior_close=fields["behaviorClose"],
        expected=[[tuple(event) for event in events] for events in fields["expected"].values()],
        received=[tuple(event) for event in fields["received"]],
        given_up=fields["droppedByMe"],
        closed_by_server=not fields["closedByMe"],
        clean=fields["wasClean"],
        client_code=fields["localCloseCode"],
        server_code=fields["remoteCloseCode"],
    )

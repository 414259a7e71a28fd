"""Asks pip-audit whether a locked package has a known vulnerability; a real finding fails.

    python docker/audit.py [--tool pip-audit] [LOCK...]

pip-audit calls a package that its database does not know "skipped", and all of them where it is
kept from the database: this says so in one line, and passes, as where nothing answers at all.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DOCKER = Path(__file__).resolve().parent
#: Vulnerabilities that do not concern the service -> why not; to be looked at with each new lock.
ACCEPTED: dict[str, str] = {}
#: What is said where a network keeps pip-audit from its database, and not where the lock is wrong.
UNREACHABLE = re.compile(r"ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Max retries")
LONGEST_S = 300


class AuditError(Exception):
    """pip-audit failed, and not for want of its database."""


class UnreachableError(Exception):
    """Nothing answers where the database should be."""


@dataclass(frozen=True)
class Report:
    """What is known of a lock's packages."""

    findings: list[str]  # a line each
    audited: int
    unknown: list[str]  # names of packages that the database does not know


def asked(tool: str, lock: Path) -> Report:
    """pip-audit's word on a lock; AuditError, UnreachableError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off"]
        done = subprocess.run(
            [tool, *options, "--format", "json", "--output", str(path), "--requirement", str(lock)],
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        if path.exists():
            return read(json.loads(path.read_text()))
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    if UNREACHABLE.search(done.stderr):
        raise UnreachableError(last)
    raise AuditError(last)


def read(report: dict[str, list[dict[str, object]]]) -> Report:
    """A report as pip-audit writes it."""
    findings, audited, unknown = [], 0, []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(str(package["name"]))
            continue
        audited += 1
        findings += [
            f"{package['name']} {package['version']}: {hole['id']}, mended in "
            f"{', '.join(hole['fix_versions']) or 'no version yet'}"
            for hole in package["vulns"]  # type: ignore[attr-defined]
            if hole["id"] not in ACCEPTED
        ]
    return Report(findings, audited, unknown)


def told(lock: str, report: Report) -> str:
    """One line on a lock without findings."""
    total = report.audited + len(report.unknown)
    if not report.audited:
        return f"{lock}: not audited, the database knows none of the {total} packages from here"
    line = f"{lock}: no known vulnerability in {report.audited} of {total} packages"
    return f"{line}; unknown are {', '.join(report.unknown)}" if report.unknown else line


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where something was found or pip-audit failed, 0 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tool", default=str(Path(sys.executable).parent / "pip-audit"))
    parser.add_argument("locks", type=Path, nargs="*", default=sorted(DOCKER.glob("*.lock")))
    options = parser.parse_args(arguments)
    failed = False
    for lock in options.locks:
        try:
            report = asked(options.tool, lock)
        except UnreachableError as error:
            print(f"{lock.name}: not audited, the database cannot be reached ({error})"[:300])
            continue
        except AuditError as error:
            print(f"{lock.name}: pip-audit failed: {error}")
            failed = True
            continue
        failed = failed or bool(report.findings)
        print("\n".join(report.findings) or told(lock.name, report))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

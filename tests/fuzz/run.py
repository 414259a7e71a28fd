"""All targets in turn: ``python -m tests.fuzz.run [--seconds 600] [--only TARGET,...]``

Prints what each has seen, and ends with 1 where something was found: the input then lies beside
the target's corpus under runs/fuzz. With --keep the corpus is renewed from what was found there.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.corpus import FOUND, TARGETS, keep, laid_out
from tests.fuzz.target import MOST_BYTES, Target

ROOT = Path(__file__).resolve().parents[2]
#: Seconds of one input, MiB of the process: beyond them libFuzzer ends the run as a finding.
LIMITS = ["-timeout=10", "-rss_limit_mb=2048", f"-max_len={MOST_BYTES}"]
KEPT_BYTES = 20_000  # of a target
END_S = 120  # that libFuzzer may take to end


@dataclass(frozen=True)
class Outcome:
    """What a run of one target came to."""

    inputs: int
    edges: int  # of the code that the inputs have reached
    finding: str | None  # the last lines of what went wrong


def fuzz(target: Target, seconds: float) -> Outcome:
    """Fuzz one target for so many seconds."""
    folder = FOUND / target.name
    laid_out(target, folder)
    options = [f"-max_total_time={max(1, round(seconds))}", "-print_final_stats=1"]
    artefacts = f"-artifact_prefix={FOUND}/{target.name}-"
    code, output = child(target, [*LIMITS, *options, artefacts, str(folder)], seconds + END_S)
    inputs = re.findall(r"^(?:#|stat::number_of_executed_units: )(\d+)", output, re.MULTILINE)
    edges = re.findall(r"\bcov: (\d+)", output)
    return Outcome(
        int(inputs[-1]) if inputs else 0,
        int(edges[-1]) if edges else 0,
        last_words(output) if code else None,
    )


def child(target: Target, options: Sequence[str], seconds: float) -> tuple[int, str]:
    """Exit code and output of a run of libFuzzer."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.one", target.name, *options],
            cwd=ROOT,
            env=os.environ | {"ATPN_LOG_LEVEL": "error"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 1, (error.stdout or b"").decode(errors="replace") + f"\nno end in {seconds:.0f} s"
    return done.returncode, done.stdout.decode(errors="replace")


def last_words(output: str) -> str:
    """The exception and where its input lies, without libFuzzer's own stack."""
    kept = [
        line for line in output.splitlines() if not re.match(r"(#\d+\s| +#|stat::|==|NEW)", line)
    ]
    return "\n".join(kept[-25:])


def minimised(target: Target) -> int:
    """Keep the smallest inputs that reach as much as all that were found; how many there are."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code, output = child(target, [*LIMITS, "-merge=1", name, str(FOUND / target.name)], 600)
        if code:
            raise RuntimeError(f"{target.name} could not be merged:\n{last_words(output)}")
        return keep(target, folder, KEPT_BYTES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz all; 1 where something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="of all targets together")
    parser.add_argument("--only", default=",".join(TARGETS), help="which targets, by commas")
    parser.add_argument("--keep", action="store_true", help="renew the corpus from what was found")
    options = parser.parse_args(arguments)
    targets = [TARGETS[name] for name in options.only.split(",")]
    if options.keep:
        for target in targets:
            print(f"{target.name:10} {minimised(target)} inputs kept")
        return 0
    found = 0
    for target in targets:
        outcome = fuzz(target, options.seconds / len(targets))
        print(f"{target.name:10} {outcome.inputs:8} inputs, {outcome.edges:6} edges", flush=True)
        if outcome.finding is not None:
            found += 1
            print(outcome.finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

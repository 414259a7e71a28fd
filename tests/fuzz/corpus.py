"""The inputs that are kept: the targets' seeds, and a few that fuzzing found, zipped.

``python -m tests.fuzz.run --keep`` renews the kept ones from what `make fuzz` left in runs/fuzz:
the smallest inputs that cover as much.
"""

import hashlib
import zipfile
from pathlib import Path

from tests.fuzz.images import IMAGES
from tests.fuzz.messages import MESSAGES
from tests.fuzz.options import OPTIONS
from tests.fuzz.states import STATES
from tests.fuzz.target import MOST_BYTES, Target
from tests.fuzz.tensors import TENSORS
from tests.fuzz.uploads import UPLOADS

TARGETS = {t.name: t for t in (IMAGES, UPLOADS, OPTIONS, TENSORS, MESSAGES, STATES)}
KEPT = Path(__file__).parent / "corpus"
FOUND = Path(__file__).resolve().parents[2] / "runs" / "fuzz"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same inputs give the same file


def kept(target: Target) -> list[bytes]:
    """What fuzzing found and was kept, the smallest first."""
    path = KEPT / f"{target.name}.zip"
    if not path.exists():
        return []
    with zipfile.ZipFile(path) as archive:
        return sorted((archive.read(name) for name in archive.namelist()), key=len)


def inputs(target: Target) -> list[bytes]:
    """Seeds and kept inputs, each once."""
    return list(dict.fromkeys([*target.seeds(), *kept(target)]))


def laid_out(target: Target, folder: Path) -> None:
    """Every input as a file, as libFuzzer wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs(target):
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def keep(target: Target, folder: Path, most_bytes: int) -> int:
    """Zip the inputs of a folder that are no seeds, the smallest first; how many were kept."""
    known = set(target.seeds())
    found = sorted((path.read_bytes() for path in folder.iterdir()), key=lambda d: (len(d), d))
    KEPT.mkdir(exist_ok=True)
    count = total = 0
    with zipfile.ZipFile(KEPT / f"{target.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for data in found:
            total += len(data)
            if data in known or len(data) > MOST_BYTES or total > most_bytes:
                continue
            archive.writestr(zipfile.ZipInfo(f"{count:04}", LONG_AGO), data)
            count += 1
    return count

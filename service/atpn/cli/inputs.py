"""What the arguments of a command name: files, folders, patterns and standard input."""

import errno
import glob
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

IMAGES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp"])
VIDEOS = frozenset([".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"])
STDIN = "-"


class Unreadable(Exception):
    """An argument names nothing, or nothing that can be read; the message says why."""


@dataclass(frozen=True)
class ImageFile:
    """One encoded image."""

    name: str

    @property
    def stem(self) -> str:
        """What files made of it are called."""
        return "stdin" if self.name == STDIN else Path(self.name).stem

    def read(self) -> bytes:
        """Its bytes; OSError where they cannot be read."""
        if self.name == STDIN:
            return sys.stdin.buffer.read()
        return Path(self.name).read_bytes()


def image_files(argument: str) -> list[ImageFile]:
    """The images that an argument names: a folder's are searched for, with those below it."""
    return [ImageFile(str(path)) for path in paths(argument, IMAGES)]


def paths(argument: str, suffixes: frozenset[str]) -> list[Path]:
    """The files behind an argument, sorted; of a folder those with ``suffixes``.

    Raises Unreadable where there is none. Standard input is a file of the name ``-``.
    """
    if not argument:  # an unset variable of the shell, not the folder where we are
        raise Unreadable("no name is given")
    path = Path(argument)
    if argument == STDIN or is_there(path, Path.is_file):
        return [path]
    if is_there(path, Path.is_dir):
        inside(path)  # rglob finds nothing where it may not look
        found = of_kind(path.rglob("*"), suffixes)
        return list(_or_nothing(found, f"no file in it ends in {', '.join(sorted(suffixes))}"))
    if glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - an absolute pattern
        files = [path for path in map(Path, matches) if is_file(path)]
        return list(_or_nothing(files, "nothing matches"))
    raise Unreadable("no such file or folder")


def is_there(path: Path, test: Callable[[Path], bool]) -> bool:
    """What ``test`` says of a path; Unreadable where it may not be looked at."""
    try:
        return test(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # as addresses of cameras may be
            return False
        raise Unreadable(error.strerror or str(error)) from error


def is_file(path: Path) -> bool:
    """Whether it is one; Unreadable, which names it, where it may not be looked at."""
    try:
        return is_there(path, Path.is_file)
    except Unreadable as error:
        raise Unreadable(f"{path.name}: {error}") from error


def inside(folder: Path) -> list[Path]:
    """What is in a folder; Unreadable where it may not be looked into."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error


def file_of(path: Path) -> tuple[int, int] | None:
    """Which file it is, by whatever name or link; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def of_kind(candidates: Iterable[Path], suffixes: frozenset[str]) -> list[Path]:
    """The files that end in one of ``suffixes``, sorted; Unreadable where one is out of reach."""
    named = (p for p in candidates if p.suffix.lower() in suffixes)
    return sorted(p for p in named if is_file(p))


def _or_nothing(found: list[Path], otherwise: str) -> Iterator[Path]:
    if not found:
        raise Unreadable(otherwise)
    return iter(found)

"""The chunks of PNGs: whether all are there, and those that make the picture."""

from collections.abc import Iterator

from atpn.errors import InvalidImage
from atpn.faces.jpeg import MOST_PARTS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: What the pixels are made of, and which way is up. The others, texts and colour profiles, may be
#: packed: of 7 KB a decoder makes 7 MB.
WANTED = frozenset([b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"])


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each chunk of a PNG; InvalidImage beyond MOST_PARTS."""
    at = len(SIGNATURE)
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            return
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : start], start, end
        at = end + 4
    raise InvalidImage(f"a PNG of more than {MOST_PARTS} chunks")


def complete(data: bytes) -> bool:
    """Whether every chunk up to the last is whole: OpenCV believes the lengths, and takes as much
    memory as they say.
    """
    for name, _, end in chunks(data):
        if end + 4 > len(data):
            return False
        if name == b"IEND":
            return True
    return False


def bare(data: bytes) -> bytes:
    """A PNG of the WANTED chunks alone, up to its end; anything else as it is."""
    if not data.startswith(SIGNATURE):
        return data
    kept, more, view = [memoryview(SIGNATURE)], False, memoryview(data)
    for name, start, end in chunks(data):
        if name in WANTED:
            kept.append(view[start - 8 : end + 4])
        else:
            more = True
        if name == b"IEND":
            break
    return b"".join(kept) if more else data

"""Decoding: every format, turn and colour space gives the same upright RGB; the rest is refused."""

import io
import resource
import struct
import time
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image as Pillow

from atpn.errors import AtpnError, InvalidImage, TooManyPixels, UnsupportedMediaType
from atpn.faces.headers import read_header
from atpn.faces.images import Decoded, decode, decode_reduced
from atpn.geometry import Box, Image
from tests.clips import encoded

MANY = 40_000_000
FORMATS = ["JPEG", "PNG", "WEBP", "BMP"]
ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE = (250, 5, 5), (5, 250, 5), (5, 5, 250), (250, 250, 250)


def saved(picture: Pillow.Image, kind: str, **options: object) -> bytes:
    """The picture as Pillow writes it."""
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def corners() -> Image:
    """48x32 pixels: red top left, green top right, blue bottom left, white bottom right."""
    picture = np.empty((32, 48, 3), np.uint8)
    picture[:16, :24], picture[:16, 24:] = RED, GREEN
    picture[16:, :24], picture[16:, 24:] = BLUE, WHITE
    return picture


def noise(height: int = 64, width: int = 64) -> Image:
    """A picture that does not compress, so that a cut takes something away."""
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def exif(orientation: int) -> Pillow.Exif:
    """An EXIF block with nothing but an orientation."""
    block = Pillow.Exif()
    block[ORIENTATION] = orientation
    return block


def as_stored(upright: Image, orientation: int) -> Image:
    """How a camera stores a picture that is to be shown upright (EXIF 2.32, 4.6.4)."""
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),  # shown turned clockwise, so stored turned back
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(stored[orientation])


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def empty_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds (almost) no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(2000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def jpeg_with_thumbnail() -> bytes:
    """A JPEG whose EXIF block holds a second, whole JPEG, as cameras write it."""
    plain = saved(Pillow.fromarray(noise()), "JPEG", quality=90)
    thumbnail = saved(Pillow.fromarray(noise(8, 8)), "JPEG")
    assert thumbnail.endswith(b"\xff\xd9")
    block = b"Exif\0\0" + exif(1).tobytes()[6:] + thumbnail
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def difference(a: Image, b: Image) -> float:
    """Mean absolute difference of two pictures."""
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_photograph(kind: str, astronaut: Image) -> None:
    data = saved(Pillow.fromarray(astronaut), kind, quality=95)
    decoded = decode(data, MANY)
    assert decoded.dtype == np.uint8
    assert difference(decoded, astronaut) < (4 if kind in {"JPEG", "WEBP"} else 0.001)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_orientation_is_undone_to_the_pixel(kind: str, orientation: int) -> None:
    stored = Pillow.fromarray(as_stored(corners(), orientation))
    data = saved(stored, kind, exif=exif(orientation), lossless=True)
    assert np.array_equal(decode(data, MANY), corners())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_has_its_corners_where_they_belong(orientation: int) -> None:
    stored = Pillow.fromarray(as_stored(corners(), orientation))
    decoded = decode(saved(stored, "JPEG", exif=exif(orientation), quality=95), MANY)
    assert decoded.shape == (32, 48, 3)
    for (y, x), colour in {(4, 4): RED, (4, 43): GREEN, (27, 4): BLUE, (27, 43): WHITE}.items():
        assert np.abs(decoded[y, x].astype(int) - colour).max() < 20


def reduced(data: bytes, most: float) -> Decoded:
    """The image, decoded by up to ``most`` smaller."""
    return decode_reduced(data, read_header(data, MANY), most)


@pytest.mark.parametrize("most", [0.0, 0.5, 1, 1.9, 2, 3.9, 4, 7, 8, 100])
def test_a_jpeg_is_decoded_no_smaller_than_allowed(most: float, astronaut: Image) -> None:
    picture = reduced(encoded(astronaut, 95), most)
    assert picture.reduction <= max(1, most) < 2 * picture.reduction or picture.reduction == 8
    assert picture.pixels.shape == (512 // picture.reduction, 512 // picture.reduction, 3)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("roi", [Box(20, 10, 470, 460), Box(140, 40, 300, 200, 0.4)])
def test_the_network_sees_the_same_in_a_smaller_picture(
    reduction: int, roi: Box, astronaut: Image
) -> None:
    large = cv2.resize(astronaut, (4093, 4087), interpolation=cv2.INTER_CUBIC)
    data, roi = encoded(large.astype(np.uint8), 95), roi.scaled(8)
    whole = reduced(data, 1)
    smaller = reduced(data, reduction)
    assert (whole.reduction, smaller.reduction) == (1, reduction)
    pixel = roi.width / 112
    moved = [
        replace(roi, x0=roi.x0 + x, x1=roi.x1 + x, y0=roi.y0 + y, y1=roi.y1 + y)
        for x, y in ((pixel, 0), (0, pixel), (-pixel, 0), (0, -pixel))
    ]
    seen = whole.crop(roi)
    least = min(difference(seen, smaller.crop(other)) for other in moved)
    assert difference(seen, smaller.crop(roi)) < 0.6 * least


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_tells_its_upright_size_and_is_made_smaller_upright(
    orientation: int,
) -> None:
    stored = Pillow.fromarray(as_stored(corners(), orientation))
    data = saved(stored, "JPEG", exif=exif(orientation), quality=95)
    header = read_header(data, MANY)
    assert (header.width, header.height) == (48, 32)
    picture = decode_reduced(data, header, 2)
    assert picture.pixels.shape == (16, 24, 3)
    for (y, x), colour in {(2, 2): RED, (2, 21): GREEN, (13, 2): BLUE, (13, 21): WHITE}.items():
        assert np.abs(picture.pixels[y, x].astype(int) - colour).max() < 20


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(4093, 4087), (4096, 4088)])
def test_the_network_sees_the_same_in_a_turned_picture_of_any_size(
    orientation: int, size: tuple[int, int], astronaut: Image
) -> None:
    """The part of a pixel at the end is at the beginning once the picture is turned."""
    large = cv2.resize(astronaut, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    plain = saved(Pillow.fromarray(large), "JPEG", quality=95)
    stored = Pillow.fromarray(as_stored(large, orientation))
    turned = reduced(saved(stored, "JPEG", exif=exif(orientation), quality=95), 8)
    even = size == (4096, 4088)
    assert turned.reduction == (8 if even or orientation == 1 else 1)
    roi = Box(140, 40, 300, 200, 0.4).scaled(8)
    seen, moved = reduced(plain, 8).crop(roi), replace(roi, x0=roi.x0 + 7, x1=roi.x1 + 7)
    assert difference(seen, turned.crop(roi)) < 0.5 * difference(seen, turned.crop(moved))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_only_jpegs_are_made_smaller(kind: str, astronaut: Image) -> None:
    data = saved(Pillow.fromarray(astronaut), kind)
    picture = reduced(data, 8)
    assert (picture.reduction, picture.pixels.shape) == (1, (512, 512, 3))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_size_is_known_before_anything_is_decoded(kind: str) -> None:
    header = read_header(saved(Pillow.fromarray(corners()), kind), MANY)
    assert (header.kind, header.width, header.height) == (kind, 48, 32)


def test_the_exif_block_of_a_png_may_come_after_its_pixels() -> None:
    data = saved(Pillow.fromarray(as_stored(corners(), 6)), "PNG")
    end = chunk(b"IEND", b"")
    moved = data.removesuffix(end) + chunk(b"eXIf", exif(6).tobytes()[6:]) + end
    assert np.array_equal(decode(moved, MANY), corners())


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("block", [b"", b"II", b"not exif at all", exif(6).tobytes()[6:-7]])
def test_a_damaged_exif_block_does_not_spoil_the_picture(block: bytes) -> None:
    data = saved(Pillow.fromarray(corners()), "PNG")
    end = chunk(b"IEND", b"")
    decoded = decode(data.removesuffix(end) + chunk(b"eXIf", block) + end, MANY)
    assert np.array_equal(decoded, corners())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    data = saved(Pillow.fromarray(corners()), "PNG", exif=exif(orientation))
    assert np.array_equal(decode(data, MANY), corners())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_bilevel_pictures_become_rgb(kind: str, mode: str, astronaut: Image) -> None:
    picture = Pillow.fromarray(astronaut).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    decoded = decode(saved(picture, kind), MANY)
    assert decoded.shape == (512, 512, 3)
    assert difference(decoded, expected) < (0.001 if kind != "JPEG" else 12)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("RGBA", "WEBP"), ("P", "PNG")])
def test_transparency_and_palettes_become_rgb(mode: str, kind: str) -> None:
    picture = Pillow.fromarray(corners()).convert(mode)
    assert difference(decode(saved(picture, kind, lossless=True), MANY), corners()) < 10


def test_sixteen_bits_become_eight() -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    decoded = decode(saved(Pillow.fromarray(ramp), "PNG"), MANY)
    assert decoded.shape == (64, 64, 3)
    assert np.abs(decoded[..., 0].astype(int) - ramp // 256).max() <= 1


def test_a_printers_cmyk_jpeg_has_the_right_colours() -> None:
    picture = Pillow.fromarray(corners()).convert("CMYK")
    decoded = decode(saved(picture, "JPEG", quality=95), MANY)
    assert difference(decoded, corners()) < 6


@pytest.mark.parametrize("kind", FORMATS)
def test_a_single_pixel_is_an_image(kind: str) -> None:
    assert decode(saved(Pillow.new("RGB", (1, 1), RED), kind), MANY).shape == (1, 1, 3)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello, I am a text", b"<svg/>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        decode(data, MANY)


def test_the_refusal_names_the_bytes_that_were_seen() -> None:
    with pytest.raises(InvalidImage, match=r"12 bytes that begin with 68 65 6c 6c 6f"):
        decode(b"hello, world", MANY)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "AVIF"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=kind):
        decode(saved(Pillow.fromarray(corners()), kind), MANY)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_that_is_cut_anywhere_is_refused(kind: str) -> None:
    data = saved(Pillow.fromarray(noise()), kind, quality=90)
    decode(data, MANY)
    for cut in [*range(1, 600, 7), *range(600, len(data) - 8, 301), len(data) - 9]:
        with pytest.raises(InvalidImage):
            decode(data[:cut], MANY)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_the_end_marker_of_a_thumbnail_does_not_hide_that_a_jpeg_is_cut() -> None:
    data = jpeg_with_thumbnail()
    assert decode(data, MANY).shape == (64, 64, 3)
    for cut in range(data.index(b"\xff\xd9") + 2, len(data) - 1, 53):
        with pytest.raises(InvalidImage):
            decode(data[:cut], MANY)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_follows_the_picture_does_not_matter(kind: str) -> None:
    data = saved(Pillow.fromarray(noise()), kind)
    assert np.array_equal(decode(data + b"trailing", MANY), decode(data, MANY))


def test_a_small_file_that_claims_many_pixels_is_refused_by_its_header() -> None:
    """30,000 x 30,000 pixels would be 2.7 GB; the process does not grow by 50 MB."""
    data = empty_png(30_000, 30_000)
    assert len(data) < 5000
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooManyPixels, match="30000x30000"):
        decode(data, MANY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50_000


def test_a_jpeg_that_ends_at_the_head_of_its_scan_is_refused() -> None:
    """Found by fuzzing."""
    head, scan, _ = saved(Pillow.fromarray(corners()), "JPEG").partition(b"\xff\xda")
    with pytest.raises(InvalidImage):
        read_header(head + scan + b"\0\2", MANY)


@pytest.mark.parametrize("name", [b"IDAT", b"IEND"])
def test_a_chunk_that_claims_more_bytes_than_there_are_costs_no_memory(name: bytes) -> None:
    """Found by fuzzing: 45 bytes made OpenCV take 1.7 GB."""
    data = empty_png(8, 8)[:33] + struct.pack(">I", 1_769_209_856) + name + b"\xaeB`\x82"
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidImage):
        decode(data, MANY)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50_000


PNG_HEAD, PNG_END = empty_png(8, 8)[:33], chunk(b"IEND", b"")
BODY = 12 << 20  # bytes of the largest request
SWOLLEN = {
    "fill bytes": b"\xff\xd8" + b"\xff" * BODY,
    "junk": b"\xff\xd8\xff\xe1\0\2" + b"\0" * BODY,
    "empty comments": b"\xff\xd8" + b"\xff\xfe\0\2" * (BODY // 4),
    "empty EXIF blocks": b"\xff\xd8" + b"\xff\xe1\0\2" * (BODY // 4),
    "restarts": b"\xff\xd8" + b"\xff\xd0" * (BODY // 2),
    "empty texts": PNG_HEAD + chunk(b"tEXt", b"") * (BODY // 12) + PNG_END,
    "empty pixels": PNG_HEAD + chunk(b"IDAT", b"") * (BODY // 12) + PNG_END,
}


@pytest.mark.parametrize("data", SWOLLEN.values(), ids=SWOLLEN)
def test_a_header_of_millions_of_parts_costs_no_seconds(data: bytes) -> None:
    """Each of these took up to seven seconds of a core."""
    started = time.process_time()
    with pytest.raises(InvalidImage, match="more than"):
        read_header(data, MANY)
    assert time.process_time() - started < 1


def test_a_picture_in_thousands_of_chunks_is_read() -> None:
    rows = b"".join(b"\0" + corners()[y].tobytes() for y in range(32))
    pixels = zlib.compress(rows, 0)
    pieces = b"".join(chunk(b"IDAT", pixels[i : i + 1]) for i in range(len(pixels)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 48, 32, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + pieces + PNG_END
    assert np.array_equal(decode(data, MANY), corners())


@pytest.mark.parametrize(("limit", "fits"), [(32 * 48, True), (32 * 48 - 1, False)])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_pixel_limit_is_exact(kind: str, limit: int, fits: bool) -> None:
    data = saved(Pillow.fromarray(corners()), kind)
    if fits:
        assert decode(data, limit).shape == (32, 48, 3)
    else:
        with pytest.raises(TooManyPixels, match="48x32"):
            decode(data, limit)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)])
def test_an_absurd_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises((InvalidImage, TooManyPixels)):
        decode(empty_png(*size), MANY)


def test_too_few_pixels_in_a_whole_file_are_refused() -> None:
    with pytest.raises(InvalidImage):
        decode(empty_png(100, 100), MANY)


def decode_or_refuse(data: bytes) -> None:
    """Anything may come out but an error that is not ours or more pixels than the limit."""
    try:
        decoded = decode(data, 1_000_000)
    except AtpnError:
        return
    height, width, colours = decoded.shape
    assert height * width <= 1_000_000
    assert colours == 3
    assert decoded.dtype == np.uint8


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"BM", b"RIFF", b"GIF8"]))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_bytes_are_decoded_or_refused(data: bytes, beginning: bytes) -> None:
    decode_or_refuse(beginning + data)


WHOLE = {
    kind: saved(Pillow.fromarray(noise(16, 16)), kind, exif=exif(6)) for kind in FORMATS[:3]
} | {"BMP": saved(Pillow.fromarray(noise(16, 16)), "BMP")}


@given(
    kind=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=6),
)
@example(kind="BMP", changes=[(2, 0), (3, 0)])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_pictures_are_decoded_or_refused(kind: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[kind])
    for at, value in changes:
        data[at % len(data)] = value
    decode_or_refuse(bytes(data))


def packed_text(length: int) -> bytes:
    """A PNG chunk of a few KB that becomes a text of ``length``."""
    content = b"k\0\0" + zlib.compress(b"a" * length, 9)
    check = struct.pack(">I", zlib.crc32(b"zTXt" + content))
    return struct.pack(">I", len(content)) + b"zTXt" + content + check


@pytest.mark.parametrize("before", [True, False], ids=["before the pixels", "behind them"])
def test_packed_texts_of_a_png_are_never_unpacked(before: bool) -> None:
    plain = saved(Pillow.fromarray(corners()), "PNG")
    at = plain.index(b"IDAT") - 4 if before else len(plain) - 12
    data = plain[:at] + packed_text(7_000_000) * 40 + plain[at:]
    decode(data, MANY)  # what is loaded once is loaded
    started, resident = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.testing.assert_array_equal(decode(data, MANY), corners())
    assert time.process_time() - started < 0.2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 50_000


@pytest.mark.parametrize("profile", [True, False], ids=["EXIF", "plain"])
def test_a_progressive_jpeg_of_thousands_of_scans_is_refused(profile: bool) -> None:
    options = {"exif": Pillow.Exif().tobytes()} if profile else {}
    data = saved(Pillow.new("L", (400, 400), 128), "JPEG", progressive=True, **options)
    end, last = data.rindex(b"\xff\xd9"), data.rindex(b"\xff\xda")
    decode(data[:end] + data[last:end] * 40 + data[end:], MANY)
    with pytest.raises(InvalidImage, match="scans"):
        read_header(data[:end] + data[last:end] * 100 + data[end:], MANY)

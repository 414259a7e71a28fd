"""JPEGs are decoded to OpenCV's own pixels, and no further down than what is looked at."""

import io
from itertools import product

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from typing_extensions import override

from atpn.faces import jpeg
from atpn.faces.detection import Detection
from atpn.faces.encoded_image import EncodedImage
from atpn.faces.headers import read_header
from atpn.faces.images import decode_reduced
from atpn.faces.looking import Detect
from atpn.geometry import Box, Image, crop
from tests.clips import encoded
from tests.conftest import FakeDetector

MANY = 40_000_000
REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def by_opencv(data: bytes, reduction: int) -> Image:
    """(h, w, 3) RGB."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[reduction])
    assert pixels is not None
    return np.asarray(pixels if reduction == 1 else pixels[..., ::-1], np.uint8)


def saved(picture: Image, mode: str = "RGB", **options: object) -> bytes:
    """As Pillow writes it."""
    data = io.BytesIO()
    Pillow.fromarray(picture).convert(mode).save(data, "JPEG", **options)
    return data.getvalue()


@pytest.mark.parametrize("size", [(640, 480), (641, 479), (97, 333), (15, 200), (1, 1)])
@pytest.mark.parametrize("progressive", [False, True])
def test_pixels_are_opencvs_at_every_scale_and_coding(
    size: tuple[int, int], progressive: bool, astronaut: Image
) -> None:
    picture = np.asarray(cv2.resize(astronaut, size), np.uint8)
    for subsampling, quality, mode in product([0, 1, 2], [60, 95], ["RGB", "L"]):
        data = saved(
            picture, mode, subsampling=subsampling, quality=quality, progressive=progressive
        )
        for reduction in REDUCED:
            pixels = jpeg.decode(data, *size, reduction)
            assert np.array_equal(pixels, by_opencv(data, reduction))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("restarts", [0, 1])
def test_the_topmost_rows_are_those_of_the_whole_picture(
    subsampling: int, restarts: int, astronaut: Image
) -> None:
    data = saved(astronaut[:479], subsampling=subsampling, restart_marker_rows=restarts)
    known = jpeg.plain(data)
    assert known is not None
    for reduction, rows in product(REDUCED, range(0, 479, 7)):
        whole = jpeg.decode(data, 512, 479, reduction)
        part, left = jpeg.cut(data, known, rows * reduction)
        pixels = jpeg.decode(part, 512, left, reduction)
        assert len(pixels) > rows or len(pixels) == len(whole)
        assert np.array_equal(pixels[:rows], whole[:rows])


def test_a_progressive_picture_is_not_cut(astronaut: Image) -> None:
    data = saved(astronaut, progressive=True)
    known = jpeg.plain(data)
    assert known is not None
    assert jpeg.cut(data, known, 16) == (data, 512)


def test_a_picture_whose_colours_are_coded_apart_is_not_cut(astronaut: Image) -> None:
    data = bytearray(saved(astronaut))
    scan = jpeg.scan_start(bytes(data))
    data[scan + 4] = 1  # as its first scan of three would say
    known = jpeg.plain(bytes(data))
    assert known is not None
    assert known.rows_at is None


@pytest.mark.parametrize("roi", [Box(20, 5, 210, 195), Box(150, 60, 400, 310, 0.5)])
@pytest.mark.parametrize("scale", [1, 3, 7])
def test_a_crop_is_the_same_where_only_the_rows_above_its_end_were_decoded(
    roi: Box, scale: int, astronaut: Image
) -> None:
    side = 512 * scale
    data, roi = (
        encoded(np.asarray(cv2.resize(astronaut, (side, side)), np.uint8)),
        roi.scaled(scale),
    )
    header = read_header(data, MANY)
    part, whole = decode_reduced(data, header, scale, [roi]), decode_reduced(data, header, scale)
    assert part.reduction == whole.reduction
    assert not part.whole
    assert len(part.pixels) < 0.75 * len(whole.pixels)
    assert np.array_equal(part.crop(roi), whole.crop(roi))


def test_what_lies_further_down_than_was_decoded_is_seen_all_the_same(astronaut: Image) -> None:
    data = encoded(astronaut)
    image = EncodedImage(data, MANY, FakeDetector(), whole=False)
    whole = decode_reduced(data, read_header(data, MANY), 1).pixels
    for roi in (Box(180, 40, 300, 160), Box(180, 44, 300, 164), Box(180, 300, 300, 420)):
        (seen,) = image.crops([roi])
        assert np.array_equal(seen, crop(whole, roi))


class Searched(FakeDetector):
    """Keeps the pixels in which it was asked to find faces."""

    pixels: Image | None = None

    @override
    def detect(self, image: Image) -> list[Detection]:
        self.pixels = image
        return super().detect(image)


def test_the_whole_image_is_searched_and_drawn_on_after_a_part_was_looked_at(
    astronaut: Image,
) -> None:
    detector = Searched()
    image = EncodedImage(encoded(astronaut), MANY, detector, whole=False)
    image.crops([Box(0, 0, 112, 112)])
    image.search(Detect(small=True))
    assert detector.pixels is not None
    assert detector.pixels.shape == (512, 512, 3)
    assert image.pixels is detector.pixels


@pytest.mark.parametrize("kind", ["CMYK", "exif"])
def test_jpegs_that_are_not_plain_are_decoded_whole(kind: str, astronaut: Image) -> None:
    block = Pillow.Exif()
    block[0x0112] = 1
    options = {"exif": block} if kind == "exif" else {}
    data = saved(astronaut, "CMYK" if kind == "CMYK" else "RGB", **options)
    header = read_header(data, MANY)
    assert header.plain is None
    assert decode_reduced(data, header, 1, [Box(0, 0, 112, 112)]).pixels.shape == (512, 512, 3)

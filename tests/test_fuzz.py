"""The inputs that fuzzing has kept are all taken well, and a target knows what it must not take."""

from contextlib import nullcontext

import pytest

from atpn.errors import InvalidImage
from atpn.faces.headers import Header, read_header
from tests.fuzz import images, messages, options
from tests.fuzz.corpus import KEPT, TARGETS, inputs, kept
from tests.fuzz.run import KEPT_BYTES, last_words
from tests.fuzz.service import Answer
from tests.fuzz.target import MOST_BYTES, MOST_CPU_S, Target, TooSlowError, opened

PROBLEM = {"content-type": "application/problem+json"}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_kept_input_is_taken_well(target: Target) -> None:
    replayed = inputs(target)
    assert len(kept(target)) > 0
    with opened(target) as check:
        for data in replayed:
            check(data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_corpus_is_small(target: Target) -> None:
    assert all(len(data) <= MOST_BYTES for data in inputs(target))
    assert sum(map(len, kept(target))) <= KEPT_BYTES


def test_every_kept_corpus_is_of_a_target() -> None:
    assert {path.stem for path in KEPT.iterdir()} == set(TARGETS)


def failing(error: Exception) -> Target:
    """A target whose check raises."""

    def check(_: bytes) -> None:
        raise error

    return Target("failing", lambda: nullcontext(check), lambda: [b""])


def test_an_error_that_is_not_declared_comes_out() -> None:
    with opened(failing(KeyError("x"))) as check, pytest.raises(KeyError):
        check(b"")


def test_an_input_that_costs_too_much_comes_out() -> None:
    def slow(data: bytes) -> None:
        sum(range(int(4e7 * MOST_CPU_S * len(data))))

    target = Target("slow", lambda: nullcontext(slow), lambda: [])
    with opened(target) as check:
        check(b"")
        with pytest.raises(TooSlowError):
            check(b"12345")


def test_a_picture_of_another_size_than_its_header_comes_out() -> None:
    data = images.saved("PNG")
    header = read_header(data, images.MAX_PIXELS)
    images.decoded(data, header, 1)
    wrong = Header(header.kind, header.width + 1, header.height, header.orientation)
    with pytest.raises(AssertionError, match="was decoded to"):
        images.decoded(data, wrong, 1)


def test_a_mended_png_has_the_checksums_that_its_chunks_need() -> None:
    data = images.saved("PNG")
    spoilt = data.replace(b"IHDR", b"IHDr", 1)
    assert images.mended(data) == data
    with pytest.raises(InvalidImage, match="not an image"):
        read_header(spoilt, images.MAX_PIXELS)
    assert images.mended(images.mended(spoilt).replace(b"IHDr", b"IHDR", 1)) == data
    assert images.mended(b"no PNG") == b"no PNG"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, PROBLEM, b'{"status": 500}'),
        Answer(422, {"content-type": "application/json"}, b'{"status": 422}'),
        Answer(422, PROBLEM, b'{"status": 413}'),
        Answer(200, {"content-type": "application/json"}, b'{"faces": [1, 2, 3, 4, 5]}'),
        Answer(200, PROBLEM, b'{"status": 200}'),
    ],
)
def test_an_answer_that_is_not_declared_comes_out(answer: Answer) -> None:
    with pytest.raises(AssertionError):
        options.judge(answer)


def test_a_message_means_something_where_the_protocol_has_its_type() -> None:
    assert messages.declared('{"type": "reset"}')
    assert not messages.declared('{"type": ["reset"]}')
    assert not messages.declared("[" * 100_000)


def test_what_is_told_of_a_finding_is_the_error_and_its_input() -> None:
    output = "#5 NEW cov: 7\nKeyError: x\n    #0 0x55 in main\nTest unit written to a\nstat::x: 1"
    assert last_words(output) == "KeyError: x\nTest unit written to a"

"""What a request may look like: three forms of input, boxes, limits, and everything malformed."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message

from atpn.api.uploads import read_body
from atpn.errors import ClientGone
from atpn.faces.photographs import BoxKind
from atpn.geometry import Box, roi_from_detection, square
from tests.conftest import FakeService, FakeServiceFactory, Service

FACE = [178, 63, 268, 176]  # of the astronaut
GOOD = "[8, 8, 40, 40]"


def in_json(image: bytes, boxes: object = None) -> dict[str, Any]:
    """The body of the JSON form."""
    body: dict[str, Any] = {"image": base64.b64encode(image).decode()}
    return body if boxes is None else body | {"boxes": boxes}


def faces(answer: httpx.Response) -> list[dict[str, Any]]:
    """The faces of an answer that is none but a good one."""
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["faces"]
    return found


def assert_problem(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    """The answer is a problem document with this status and code, whose detail has the words."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    for word in words:
        assert word in problem["detail"]


@pytest.fixture
async def fake(fake_service: FakeServiceFactory) -> FakeService:
    """A service around a fake model with low limits."""
    return await fake_service(max_body_bytes=20_000, max_boxes=5)


async def test_the_three_forms_of_input_give_the_same_faces(
    service: Service, astronaut_jpeg: bytes
) -> None:
    path = "/align?min_confidence=0"
    raw = await service.post(path, astronaut_jpeg)
    form = await service.client.post(path, files={"image": astronaut_jpeg})
    text = await service.client.post(path, json=in_json(astronaut_jpeg))
    assert len(faces(raw)) == 1
    assert faces(raw) == faces(form) == faces(text)


async def test_boxes_mean_the_same_in_a_form_and_in_json(
    service: Service, astronaut_jpeg: bytes
) -> None:
    form = await service.post_boxes("/align", astronaut_jpeg, [FACE])
    text = await service.client.post("/align", json=in_json(astronaut_jpeg, [FACE]))
    assert len(faces(form)) == 1
    assert faces(form) == faces(text)


@pytest.mark.parametrize(
    "kind",
    ["image/png", "image/jpeg", "IMAGE/PNG", "image/png; x=y", "application/octet-stream"],
)
async def test_the_bytes_say_what_image_it_is_not_the_content_type(
    kind: str, fake: FakeService, small_png: bytes
) -> None:
    headers = {"content-type": kind}
    assert faces(await fake.client.post("/align", content=small_png, headers=headers))


async def test_boxes_in_the_query_of_a_raw_image_mean_the_same(
    service: Service, astronaut_jpeg: bytes
) -> None:
    raw = await service.post(f"/align?boxes=[{FACE}]", astronaut_jpeg)
    form = await service.post_boxes("/align", astronaut_jpeg, [FACE])
    assert faces(raw) == faces(form)
    pose = await service.post(f"/pose?boxes=[{FACE}]", astronaut_jpeg)
    assert len(faces(pose)) == 1


@pytest.mark.parametrize("kind", ["detector", "landmarks", "roi"])
async def test_the_network_sees_what_a_box_is_said_to_be(
    kind: BoxKind, fake: FakeService, small_png: bytes
) -> None:
    box = Box(8, 8, 40, 36)
    answer = await fake.post(f"/align?boxes=[[8,8,40,36]]&boxes_are={kind}", small_png)
    (face,) = faces(answer)
    roi = {
        "detector": roi_from_detection(box),
        "landmarks": square(24, 22, 48),
        "roi": square(24, 22, 32),
    }[kind]
    # The fake network's landmarks fill a known part of its crop.
    assert face["box"][3] - face["box"][1] == pytest.approx(roi.height * 2 / 3, abs=0.1)
    assert face["box"][1] == pytest.approx(roi.y0 + roi.height / 6, abs=0.1)


@pytest.mark.parametrize("boxes", ["[[9, 9, 1, 1]]", "[[0,0,1e12,9]]", "[1]", "{", "", "[[0]]"])
async def test_bad_boxes_in_the_query_are_refused_and_nothing_is_run(
    boxes: str, fake: FakeService, small_png: bytes
) -> None:
    answer = await fake.post(f"/align?boxes={boxes}", small_png)
    assert answer.status_code == 422
    assert "boxes" in answer.json()["detail"]
    assert fake.network.batches == []


async def test_boxes_in_the_query_are_for_a_raw_image_only(
    fake: FakeService, small_png: bytes
) -> None:
    answer = await fake.client.post(f"/align?boxes=[{GOOD}]", json=in_json(small_png))
    assert_problem(answer, 422, "invalid_request", "boxes", "body")


async def test_given_boxes_are_answered_in_their_order_and_the_detector_is_not_asked(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service(boxes=[Box(0, 0, 9, 9)])
    boxes = [[30, 30, 60, 60], [2, 2, 20, 20], [10, 10, 40, 40]]
    answer = await fake.post_boxes("/align", small_png, boxes)
    lefts = [face["box"][0] for face in faces(answer)]
    assert lefts[1] < lefts[2] < lefts[0]
    assert answer.json()["ms"]["detect"] == 0


async def test_an_empty_list_of_boxes_has_no_faces(fake: FakeService, small_png: bytes) -> None:
    assert faces(await fake.post_boxes("/align", small_png, [])) == []
    assert fake.network.batches == []


BAD_BOXES = {
    "three numbers": "[1, 2, 3]",
    "five numbers": "[1, 2, 3, 4, 5]",
    "no list": '{"x0": 1}',
    "a number": "7",
    "null": "null",
    "a string": '"1,2,3,4"',
    "strings": '["1", "2", "30", "40"]',
    "booleans": "[false, false, true, true]",
    "nested lists": "[[1], [2], [30], [40]]",
    "a null": "[1, 2, 30, null]",
    "not a number": "[1, 2, NaN, 40]",
    "infinity": "[1, 2, Infinity, 40]",
    "negative infinity": "[-Infinity, 2, 30, 40]",
    "a float that overflows": "[1, 2, 1e400, 40]",
    "an integer that overflows a float": f"[1, 2, {10**400}, 40]",
    "a huge number": "[1, 2, 1e12, 40]",
    "left and right swapped": "[40, 8, 8, 40]",
    "top and bottom swapped": "[8, 40, 40, 8]",
    "no area": "[8, 8, 8, 40]",
    "right of the image": "[64, 8, 90, 40]",
    "above the image": "[8, -40, 40, 0]",
    "far larger than the image": "[-500, -500, 500, 500]",
}


@pytest.mark.parametrize("bad", BAD_BOXES.values(), ids=BAD_BOXES)
@pytest.mark.parametrize("form", ["multipart", "json"])
async def test_a_bad_box_is_named_and_nothing_is_run(
    form: str, bad: str, fake: FakeService, small_png: bytes
) -> None:
    boxes = f"[{GOOD}, {GOOD}, {bad}]"
    if form == "multipart":
        answer = await fake.post_boxes("/align", small_png, boxes)
    else:
        image = base64.b64encode(small_png).decode()
        body = f'{{"image": "{image}", "boxes": {boxes}}}'
        headers = {"content-type": "application/json"}
        answer = await fake.client.post("/align", content=body, headers=headers)
    assert_problem(answer, 422, "invalid_box", "boxes[2]:")
    assert fake.network.batches == []


@pytest.mark.parametrize("boxes", ['{"0": [1, 2, 3, 4]}', "7", '"none"', "true", "[1, 2, 30, 40]"])
async def test_boxes_that_are_no_list_of_boxes_are_refused(
    boxes: str, fake: FakeService, small_png: bytes
) -> None:
    answer = await fake.post_boxes("/align", small_png, boxes)
    assert_problem(answer, 422, "invalid_box", "boxes")


@pytest.mark.parametrize("count", [6, 1000])
async def test_more_boxes_than_the_limit_are_refused(
    count: int, fake: FakeService, small_png: bytes
) -> None:
    boxes = [[8, 8, 40, 40]] * count
    answer = await fake.post_boxes("/align", small_png, json.dumps(boxes, separators=(",", ":")))
    assert_problem(answer, 422, "invalid_box", f"{count} are more than the limit of 5")


async def test_ten_thousand_boxes_are_refused(service: Service, small_png: bytes) -> None:
    answer = await service.post_boxes("/align", small_png, [[8, 8, 40, 40]] * 10_000)
    assert_problem(answer, 422, "invalid_box", "10000")


@pytest.mark.parametrize("form", ["json", "form", "nested"])
async def test_millions_of_empty_boxes_are_refused_before_they_are_parsed(
    form: str, fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    fake = await fake_service()
    empty = "[" * 3_000_000 if form == "nested" else "[" + "[]," * 1_000_000 + "0]"
    began = time.process_time()
    if form == "form":
        answer = await fake.post_boxes("/align", small_png, empty)
    else:
        head = {"content-type": "application/json"}
        body = f'{{"image": "", "boxes": {empty}}}'
        answer = await fake.client.post("/align", content=body, headers=head)
    assert_problem(answer, 422, "invalid_request", "far more than the limit of")
    assert time.process_time() - began < 0.3


async def test_boxes_that_are_not_json_are_refused(fake: FakeService, small_png: bytes) -> None:
    answer = await fake.post_boxes("/align", small_png, "[[1, 2, 3")
    assert_problem(answer, 422, "invalid_request", "boxes: not JSON")


async def test_boxes_that_come_as_a_file_are_refused(fake: FakeService) -> None:
    files = {"boxes": ("boxes.json", b"[[8, 8, 40, 40]]")}
    answer = await fake.client.post("/align", files=files, data={"image": "x"})
    assert_problem(answer, 422, "invalid_request", "boxes: send a JSON list as a plain field")


async def test_an_image_that_comes_as_a_plain_field_is_refused(fake: FakeService) -> None:
    """Its bytes would have been taken for text."""
    plain: Any = {"image": (None, "text")}  # no file name
    answer = await fake.client.post("/align", files=plain)
    assert_problem(answer, 422, "invalid_request", "image: send it as a file")


@pytest.mark.parametrize("text", ["!!!!", "abc", "aGVsbG8", "data:image/png;base64,aGVsbG8=", "ä"])
async def test_what_is_not_base64_is_refused(text: str, fake: FakeService) -> None:
    answer = await fake.client.post("/align", json={"image": text})
    assert_problem(answer, 422, "invalid_request", "image: not base64")
    hint = "data: URI; send what follows its comma"
    assert (hint in answer.json()["detail"]) is text.startswith("data:")


async def test_base64_of_nothing_is_an_empty_image(fake: FakeService) -> None:
    answer = await fake.client.post("/align", json={"image": ""})
    assert_problem(answer, 422, "invalid_image", "empty")


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"boxes": []}', b'{"image": 7}', b'{"image": null}', b"[]", b'"image"', b"null"],
)
async def test_json_without_an_image_is_refused(body: bytes, fake: FakeService) -> None:
    headers = {"content-type": "application/json"}
    answer = await fake.client.post("/align", content=body, headers=headers)
    assert_problem(answer, 422, "invalid_request", "'image'")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 15_000, b'{"image":' * 2000, b'{"boxes": ' + b"[" * 9000],
    ids=["empty", "cut", "not text", "deep lists", "deep objects", "deep boxes"],
)
async def test_what_is_not_json_is_refused(body: bytes, fake: FakeService) -> None:
    headers = {"content-type": "application/json"}
    answer = await fake.client.post("/align", content=body, headers=headers)
    assert_problem(answer, 422, "invalid_request", "not JSON")


async def test_boxes_that_are_nested_deeply_are_refused(
    fake: FakeService, small_png: bytes
) -> None:
    answer = await fake.post_boxes("/align", small_png, "[" * 9000 + "]" * 9000)
    assert_problem(answer, 422, "invalid_request", "boxes: not JSON")


async def test_an_unknown_field_of_json_is_named(fake: FakeService, small_png: bytes) -> None:
    answer = await fake.client.post("/align", json=in_json(small_png) | {"bxoes": []})
    assert_problem(answer, 422, "invalid_request", "'bxoes'")


async def test_an_unknown_field_of_a_form_is_named(fake: FakeService, small_png: bytes) -> None:
    answer = await fake.client.post("/align", files={"image": small_png}, data={"bxoes": "[]"})
    assert_problem(answer, 422, "invalid_request", "'bxoes'")


async def test_a_form_without_an_image_is_refused(fake: FakeService) -> None:
    answer = await fake.client.post("/align", files={"picture": b"x"})
    assert_problem(answer, 422, "invalid_request", "'image'")


@pytest.mark.parametrize("second", [("image", "x"), ("image", ("a.png", b"x"))])
async def test_a_form_with_two_images_is_refused(
    second: tuple[str, Any], fake: FakeService, small_png: bytes
) -> None:
    answer = await fake.client.post("/align", files=[("image", small_png), second])
    assert_problem(answer, 422, "invalid_request", "multipart")


async def test_a_form_with_two_lists_of_boxes_is_refused(
    fake: FakeService, small_png: bytes
) -> None:
    data = {"boxes": ["[]", f"[{GOOD}]"]}
    answer = await fake.client.post("/align", files={"image": small_png}, data=data)
    assert_problem(answer, 422, "invalid_request", "more than one field 'boxes'")


def form(*parts: str) -> bytes:
    """A multipart body with the boundary ``cut``, as the tests below break it."""
    return "".join(f"--cut\r\n{part}\r\n" for part in parts).encode() + b"--cut--\r\n"


IMAGE_HEAD = 'Content-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
IMAGE_PART = IMAGE_HEAD + "abc"
BOXES_PART = 'Content-Disposition: form-data; name="boxes"\r\n\r\n'
END = b"\r\n--cut--\r\n"

BAD_FORMS = {
    "no boundary": ("multipart/form-data", form(IMAGE_PART)),
    "an empty boundary": ("multipart/form-data; boundary=", form(IMAGE_PART)),
    "another boundary": ("multipart/form-data; boundary=other", form(IMAGE_PART)),
    "an empty body": ("multipart/form-data; boundary=cut", b""),
    "cut in the head of a part": ("multipart/form-data; boundary=cut", form(IMAGE_PART)[:30]),
    "cut in a part": ("multipart/form-data; boundary=cut", form(IMAGE_PART)[:-10]),
    "a part without a name": (
        "multipart/form-data; boundary=cut",
        form("Content-Disposition: form-data\r\n\r\nabc"),
    ),
    "a part without a head": ("multipart/form-data; boundary=cut", form("\r\nabc")),
    "no parts": ("multipart/form-data; boundary=cut", b"--cut--\r\n"),
    "many fields": (
        "multipart/form-data; boundary=cut",
        form(*['Content-Disposition: form-data; name="boxes"\r\n\r\n[]'] * 50),
    ),
    "an unknown charset": ("multipart/form-data; boundary=cut; charset=nonsense", form(IMAGE_PART)),
    "a charset with a zero": (  # found by fuzzing
        "multipart/form-data; boundary=cut; charset=a\0b",
        form(IMAGE_PART),
    ),
    "bytes that are no text": (
        "multipart/form-data; boundary=cut",
        form('Content-Disposition: form-data; name="boxes"\r\n\r\nXX').replace(b"XX", b"\xff\xfe"),
    ),
}


@pytest.mark.parametrize(("kind", "body"), BAD_FORMS.values(), ids=BAD_FORMS)
async def test_a_malformed_form_is_refused(kind: str, body: bytes, fake: FakeService) -> None:
    answer = await fake.client.post("/align", content=body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert_problem(answer, 422, answer.json()["code"])
    assert answer.json()["code"] in {"invalid_request", "invalid_image"}


@pytest.mark.parametrize("cut", ["\r\n--cut\r\n", "\r\n--cut", f"\r\n--cut\r\n{BOXES_PART}[["])
async def test_a_form_that_ends_behind_its_image_is_refused(
    cut: str, fake: FakeService, small_png: bytes
) -> None:
    """Or the boxes that are lost would go unnoticed."""
    body = f"--cut\r\n{IMAGE_HEAD}".encode() + small_png + cut.encode()
    headers = {"content-type": "multipart/form-data; boundary=cut"}
    whole = await fake.client.post("/align", content=body[: -len(cut)] + END, headers=headers)
    assert whole.status_code == 200
    answer = await fake.client.post("/align", content=body, headers=headers)
    assert_problem(answer, 422, "invalid_request", "multipart")


@pytest.mark.parametrize(
    "kind", ["text/plain", "image/gif", "application/x-www-form-urlencoded", "multipart/mixed", ""]
)
async def test_another_content_type_is_refused_by_name(
    kind: str, fake: FakeService, small_png: bytes
) -> None:
    headers = {"content-type": kind}
    answer = await fake.client.post("/align", content=small_png, headers=headers)
    assert_problem(answer, 415, "unsupported_media_type", kind or "missing", "octet-stream")


async def test_a_body_of_a_declared_size_above_the_limit_is_refused_unread(
    fake: FakeService,
) -> None:
    sent: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for i in range(30):
            sent.append(i)
            yield bytes(1000)

    headers = {"content-type": "image/jpeg", "content-length": "30000"}
    answer = await fake.client.post("/align", content=body(), headers=headers)
    assert_problem(answer, 413, "too_many_bytes", "30000", "20000")
    assert sent == []


async def test_a_client_that_leaves_before_its_body_is_whole_is_gone(fake: FakeService) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    scope = {"type": "http", "headers": [], "app": fake.app}
    with pytest.raises(ClientGone):
        await read_body(Request(scope, receive), 1000)


async def test_a_body_of_unknown_size_is_refused_as_soon_as_it_passes_the_limit(
    fake: FakeService,
) -> None:
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield bytes(1000)

    headers = {"content-type": "image/jpeg"}
    answer = await fake.client.post("/align", content=endless(), headers=headers)
    assert_problem(answer, 413, "too_many_bytes", "20000")
    assert len(sent) == 21


@pytest.mark.parametrize("length", ["many", "-5", "1e9"])
async def test_a_content_length_that_is_no_number_does_not_lift_the_limit(
    length: str, fake: FakeService
) -> None:
    headers = {"content-type": "image/jpeg", "content-length": length}
    answer = await fake.client.post("/align", content=bytes(20_001), headers=headers)
    assert_problem(answer, 413, "too_many_bytes")


async def test_the_largest_body_that_is_allowed_is_read(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    padded = small_png + bytes(20_000 - len(small_png))
    fake = await fake_service(max_body_bytes=20_000)
    assert faces(await fake.post("/align", padded))

"""What a request asks for besides its image: the form of the answer."""

import msgpack
import pytest

from atpn.api.negotiation import wished_type
from tests.conftest import FakeServiceFactory, Service


@pytest.mark.parametrize(
    ("accept", "pictures", "kind"),
    [
        ("", True, "application/json"),
        ("*/*", True, "application/json"),
        ("image/png", True, "image/png"),
        ("image/png", False, "application/json"),
        ("application/msgpack", True, "application/msgpack"),
        ("image/png, application/x-msgpack", False, "application/msgpack"),
        ("text/html", True, "application/json"),
        # Of types that are as welcome, the first.
        ("text/html, application/json, image/png", True, "application/json"),
        ("image/png, image/jpeg, application/json", True, "image/png"),
        ("image/avif,image/webp,IMAGE/PNG", True, "image/png"),
        ("image/jpeg, */*", True, "image/jpeg"),
        # The highest weight.
        ("image/jpeg;q=0.9, */*", True, "application/json"),
        ("image/jpeg;q=0.9, */*;q=0.8", True, "image/jpeg"),
        ("application/json;q=0.2, image/jpeg;q=0.3, image/png;Q=0.30", True, "image/jpeg"),
        ("application/json ; q=0.5 , application/msgpack", True, "application/msgpack"),
        ("image/jpeg;level=1;q=0.1, image/png;q=0.2", True, "image/png"),
        # No weight is no wish.
        ("image/jpeg;q=0, application/json", True, "application/json"),
        ("image/jpeg;q=0.000", True, "application/json"),
        ("*/*, application/json;q=0", True, "application/msgpack"),
        ("*/*, application/json;q=0, application/x-msgpack;q=0.0", True, "image/jpeg"),
        ("image/*, image/jpeg;q=0", True, "image/png"),
        ("*/*;q=0", True, "application/json"),
        # The most specific range speaks for a type.
        ("image/*", True, "image/jpeg"),
        ("image/*;q=0.5, application/*;q=0.4, image/png", True, "image/png"),
        ("application/*;q=0.3, */*;q=0.6, application/json;q=0.1", True, "image/jpeg"),
        ("image/*, application/msgpack;q=0.1", False, "application/msgpack"),
        # What cannot be read says nothing.
        ("image/png;q=high, image/jpeg;q=0.1", True, "image/jpeg"),
        ("image/png;q=7, image/jpeg;q=nan, ;q=1,,", True, "application/json"),
    ],
)
def test_the_most_welcome_type_that_can_be_answered_is(
    accept: str, pictures: bool, kind: str
) -> None:
    assert wished_type(accept, pictures) == kind


async def test_a_picture_that_is_refused_is_not_sent(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    accept = "image/jpeg;q=0, application/json"
    answer = await service.post("/align", small_png, accept=accept)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/align?points=5&include=pose", "/pose"])
async def test_msgpack_says_the_same_as_json(
    service: Service, astronaut_jpeg: bytes, path: str
) -> None:
    plain = (await service.post(path, astronaut_jpeg)).json()
    packed = await service.post(path, astronaut_jpeg, accept="application/msgpack")
    assert packed.headers["content-type"] == "application/msgpack"
    body = msgpack.unpackb(packed.content)
    assert body["faces"] == plain["faces"]
    assert body["image"] == plain["image"]


async def test_the_headers_say_where_the_time_went(
    fake_service: FakeServiceFactory, small_png: bytes
) -> None:
    service = await fake_service()
    answer = await service.post("/align", small_png)
    ms = answer.json()["ms"]
    assert answer.headers["x-queue-time"] == str(ms["queue"])
    assert answer.headers["x-inference-time"] == str(ms["inference"])
    assert answer.headers["server-timing"] == ", ".join(f"{k};dur={v}" for k, v in ms.items())

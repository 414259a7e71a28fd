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
        ("image/jpeg;q=0.9, */*", True, "image/jpeg"),
        ("text/html, application/json, image/png", True, "application/json"),
        ("image/avif,image/webp,IMAGE/PNG", True, "image/png"),
        ("application/msgpack", True, "application/msgpack"),
        ("image/png, application/x-msgpack", False, "application/msgpack"),
        ("text/html", True, "application/json"),
    ],
)
def test_the_first_type_that_can_be_answered_is(accept: str, pictures: bool, kind: str) -> None:
    assert wished_type(accept, pictures) == kind


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

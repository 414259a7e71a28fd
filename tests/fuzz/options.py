"""What can be asked of /align beside the image, through the whole service: query, headers, boxes.

An input is the query, Accept and X-Request-Timeout on a line each, and the boxes as JSON.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import one_colour
from tests.fuzz.service import Answer, service
from tests.fuzz.target import Check, Target

MOST_FACES = 4
REFUSALS = {408, 413, 415, 422, 499, 503, 504}
IMAGE = base64.b64encode(one_colour(128, 128, 128))
PROBLEM = "application/problem+json"


@contextmanager
def asked() -> Iterator[Check]:
    """A check that asks a running service."""
    with service(max_boxes=MOST_FACES, max_faces=MOST_FACES) as running:

        def check(data: bytes) -> None:
            query, accept, timeout, boxes = [*data.split(b"\n", 3), b"", b"", b""][:4]
            headers = [(b"content-type", b"application/json")]
            headers += [(b"accept", accept)] if accept else []
            headers += [(b"x-request-timeout", timeout)] if timeout else []
            body = b'{"image": "%b", "boxes": %b}' % (IMAGE, boxes or b"null")
            judge(running.post("/align", query, headers, body))

        yield check


def judge(answer: Answer) -> None:
    """A 200 with faces within the limit, or a problem that is declared."""
    kind = answer.headers["content-type"]
    if answer.status == 200:
        assert kind != PROBLEM
        if kind == "application/json":
            assert len(json.loads(answer.body)["faces"]) <= MOST_FACES
        return
    assert answer.status in REFUSALS, f"{answer.status}: {answer.body!r}"
    problem = json.loads(answer.body)
    assert kind == PROBLEM
    assert problem["status"] == answer.status


def seeds() -> list[bytes]:
    """Each option, in a way that is right and one that is wrong."""
    return [
        b"",
        b"points=5&include=pose\napplication/json\n2.5\n[[1,2,30,40]]",
        b"points=68&include=pose,signals&include=pose\napplication/msgpack;q=0.5, */*\n\nnull",
        b"boxes_are=roi\nimage/png\n0.5\n[[0,0,9,9],[1,1,20,20]]",
        b"boxes_are=landmarks\nimage/jpeg;q=1.000\n1e3\n[]",
        b"max_faces=0&points=7&include=all\nimage/*;q=x\nnan\n[[0,0,0,0]]",
        b"boxes=[[1,2,3,4]]\n*/*\n-1\n{}",
        b"min_confidence=%ff&unknown=1\n,;=\n\n[[1e308,-1e308,NaN,true]]",
        b"max_faces=99999999999999999999\n\n\n[[" + b"9" * 400 + b",0,0,0]]",
    ]


OPTIONS = Target("options", asked, seeds)

"""What comes faster than it is taken."""

import threading
from collections.abc import Iterator

import pytest

from atpn.client.newest import Newest


def test_the_newest_item_waits_in_place_of_older_ones_and_is_taken_before_an_end() -> None:
    taken, done = threading.Event(), threading.Event()

    def items() -> Iterator[str]:
        yield "a"
        taken.wait(5)
        yield from "bcd"
        done.set()
        raise RuntimeError("over")

    with Newest(items()) as newest:
        each = iter(newest)
        assert next(each) == (0, "a")
        taken.set()
        assert done.wait(5)
        assert next(each) == (3, "d")
        with pytest.raises(RuntimeError, match="over"):
            next(each)


def test_nothing_is_taken_when_the_block_has_ended() -> None:
    count, go_on = [0], threading.Event()

    def items() -> Iterator[int]:
        while True:
            yield count[0]
            go_on.wait(5)
            count[0] += 1

    with Newest(items()) as newest:
        assert next(iter(newest)) == (0, 0)
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "atpn-newest":
            thread.join(5)
            assert not thread.is_alive()
    assert count[0] == 1
    assert list(newest) == []

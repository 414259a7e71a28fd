"""The client's stream without sockets: what it sends, what answers mean, when it comes back."""

import json
import math
from typing import Any

import msgpack
import pytest

from atpn.client.errors import ConnectionFailed, ServiceError
from atpn.client.protocol import Follow, Loss, StreamProtocol
from atpn.client.requests import backoff_s, reconnect_s

BROKEN = Loss("the connection broke")


def told(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind} | fields)


def hello(token: str = "t1", limit: int = 1000) -> str:
    return told("session", session_id="s", token=token, limits={"max_frame_bytes": limit})


def answer(seq: int, dropped: int = 0) -> str:
    return told("frame", seq=seq, state="tracked", dropped=dropped, faces=[])


class Clock:
    """A clock that is set by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock | None = None, **options: Any) -> StreamProtocol:
    """A stream that was greeted and has sent its config."""
    clock = clock or Clock()
    stream = StreamProtocol(Follow(), clock, backoff=lambda attempt: 10.0**attempt, **options)
    stream.connected()
    stream.received(hello())
    assert [json.loads(m)["type"] for m in stream.outgoing()] == ["config"]
    return stream


def put(stream: StreamProtocol, *frames: bytes) -> None:
    for frame in frames:
        stream.put(frame, frame)


def test_nothing_is_sent_before_the_service_greets() -> None:
    stream = StreamProtocol(Follow(), Clock())
    stream.connected()
    put(stream, b"one")
    assert stream.outgoing() == []
    stream.received(hello())
    config, frame = stream.outgoing()
    assert json.loads(config) == {"type": "config", "points": 98, "include": ["pose"]}
    assert frame == b"one"


def test_the_config_asks_for_signals_and_tells_a_recordings_rate() -> None:
    told_config = json.loads(Follow(signals=True, fps=25).config)
    assert (told_config["include"], told_config["fps"]) == (["pose", "signals"], 25)


def test_the_config_holds_what_was_asked_for_and_nothing_else() -> None:
    follow = Follow(points=5, pose=False, max_faces=2, min_confidence=0.5, smoothing=True)
    assert json.loads(follow.config) == {
        "type": "config",
        "points": 5,
        "include": [],
        "max_faces": 2,
        "min_confidence": 0.5,
        "smoothing": True,
    }


def test_one_frame_is_in_flight_until_it_is_answered() -> None:
    stream = opened()
    put(stream, b"one")
    assert stream.outgoing() == [b"one"]
    assert not stream.idle
    stream.received(answer(1))
    [frame] = stream.results()
    assert (frame.index, frame.dropped, frame.seq, frame.picture) == (0, 0, 1, b"one")
    assert stream.idle


def test_in_real_time_two_are_in_flight_and_the_newest_waits() -> None:
    stream = opened(realtime=True)
    put(stream, b"0")
    assert stream.outgoing() == [b"0"]
    put(stream, b"1")
    assert stream.outgoing() == [b"1"]
    put(stream, b"2", b"3")
    assert stream.outgoing() == []
    stream.received(answer(1))
    assert stream.outgoing() == [b"3"]
    stream.received(answer(2))
    stream.received(answer(3))
    assert [(f.index, f.dropped) for f in stream.results()] == [(0, 0), (1, 0), (3, 1)]


def test_frames_that_the_service_dropped_are_counted_with_those_of_the_client() -> None:
    stream = opened(realtime=True)
    put(stream, b"0")
    stream.outgoing()
    put(stream, b"1")
    stream.outgoing()
    stream.received(answer(2, dropped=1))
    assert [(f.index, f.dropped) for f in stream.results()] == [(1, 1)]


def test_a_frame_without_an_answer_is_sent_again_with_the_token_after_a_loss() -> None:
    stream = opened()
    put(stream, b"one")
    stream.outgoing()
    assert stream.lost(BROKEN) == 1.0
    assert stream.url("https://host/base/") == "wss://host/base/track?token=t1"
    stream.connected()
    assert stream.outgoing() == []
    stream.received(hello("t1"))
    assert stream.outgoing()[1:] == [b"one"]


def test_in_real_time_the_newest_in_flight_waits_again_after_a_loss() -> None:
    """No further one may come, as where the service hung up on a stream that paused."""
    stream = opened(realtime=True)
    for frame in (b"0", b"1"):
        put(stream, frame)
        stream.outgoing()
    stream.lost(BROKEN)
    assert not stream.idle
    stream.connected()
    stream.received(hello())
    assert stream.outgoing()[1:] == [b"1"]
    stream.received(answer(1))
    assert [(f.index, f.dropped) for f in stream.results()] == [(1, 1)]
    assert stream.idle


def test_in_real_time_what_was_answered_is_not_sent_again_after_a_loss() -> None:
    stream = opened(realtime=True)
    put(stream, b"0")
    stream.outgoing()
    stream.received(answer(1))
    stream.lost(BROKEN)
    assert stream.idle


def test_in_real_time_frames_in_flight_are_given_up_at_a_loss_for_a_newer_one() -> None:
    stream = opened(realtime=True)
    put(stream, b"0")
    stream.outgoing()
    stream.lost(BROKEN)
    put(stream, b"1")
    stream.connected()
    stream.received(hello())
    assert stream.outgoing()[1:] == [b"1"]
    stream.received(answer(1))
    assert [(f.index, f.dropped) for f in stream.results()] == [(1, 1)]


def test_without_a_token_the_plain_address_is_taken() -> None:
    assert StreamProtocol(Follow(), Clock()).url("http://host:1") == "ws://host:1/track"


def test_a_token_is_quoted_for_the_address() -> None:
    stream = StreamProtocol(Follow(), Clock())
    stream.connected()
    stream.received(hello("a&b/ü"))
    assert stream.url("http://h").endswith("?token=a%26b%2F%C3%BC")


def test_waits_grow_with_each_failure_and_start_again_after_an_answer() -> None:
    stream = opened()
    put(stream, b"one")
    assert [stream.lost(BROKEN) for _ in range(4)] == [1.0, 10.0, 100.0, 1000.0]
    stream.connected()
    stream.received(hello())
    stream.outgoing()
    stream.received(answer(1))
    assert stream.lost(BROKEN) == 1.0


@pytest.mark.parametrize(
    ("options", "most_s"), [({}, 30), ({"realtime": True}, 300), ({"patience_s": 7}, 7)]
)
def test_patience_is_seconds_without_an_answer_and_ends_with_what_happened_last(
    options: dict[str, Any], most_s: float
) -> None:
    clock = Clock()
    stream = opened(clock, **options)
    clock.now_s = 1000
    put(stream, b"one")
    stream.outgoing()
    stream.lost(BROKEN)
    clock.now_s += most_s - 1
    stream.lost(BROKEN)
    clock.now_s += 1
    with pytest.raises(ConnectionFailed, match=f"no answer for {most_s} s.*the last: gone"):
        stream.lost(Loss("gone"))


def test_patience_begins_anew_with_an_answer_and_with_a_frame_after_a_pause() -> None:
    clock = Clock()
    stream = opened(clock, patience_s=10)
    put(stream, b"one")
    stream.outgoing()
    for last_words in (BROKEN, Loss("message too big", close_code=1009)):
        stream.lost(BROKEN)
        clock.now_s += 9
        stream.connected()
        stream.received(hello())
        assert stream.outgoing()[1:] == [b"one"]
        if last_words is BROKEN:
            stream.received(answer(1))
        else:
            stream.lost(last_words)
        assert stream.idle
        clock.now_s += 100
        put(stream, b"one")
        stream.outgoing()
    stream.lost(BROKEN)


def test_patience_may_be_endless() -> None:
    clock = Clock()
    stream = opened(clock, patience_s=math.inf)
    put(stream, b"one")
    for _ in range(3):
        stream.lost(BROKEN)
        clock.now_s += 1e6


def test_back_off_doubles_to_a_ceiling_and_is_spread() -> None:
    for attempt, ceiling in [(0, 0.1), (1, 0.2), (5, 3.2), (6, 5.0), (1000, 5.0)]:
        waits = [backoff_s(attempt) for _ in range(200)]
        assert all(ceiling / 2 <= wait <= ceiling for wait in waits)
        assert max(waits) - min(waits) > ceiling / 4


def test_only_a_stream_that_was_connected_comes_back_at_once() -> None:
    assert opened().lost(BROKEN) == 1.0
    unheard = StreamProtocol(Follow(), Clock(), backoff=lambda attempt: 10.0**attempt)
    assert unheard.lost(Loss("503", status=503)) == 10.0
    assert unheard.lost(Loss("503", status=503)) == 10.0
    assert unheard.lost(Loss("503", status=503)) == 100.0


def test_the_first_connection_after_a_loss_comes_at_once_with_a_little_jitter() -> None:
    waits = [reconnect_s(0) for _ in range(200)]
    assert all(0 <= wait <= 0.05 for wait in waits)
    assert max(waits) - min(waits) > 0.025
    assert 0.05 <= reconnect_s(1) <= 0.1


def test_where_nothing_listens_from_the_start_there_is_no_second_try() -> None:
    with pytest.raises(ConnectionFailed, match="refused"):
        StreamProtocol(Follow(), Clock()).lost(Loss("refused", unreachable=True))


def test_a_service_that_is_gone_for_a_while_is_waited_for() -> None:
    stream = opened()
    assert stream.lost(Loss("refused", unreachable=True)) == 1.0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_handshake_that_is_refused_for_good_is_a_bad_answer_with_its_status(status: int) -> None:
    with pytest.raises(ServiceError) as refused:
        StreamProtocol(Follow(), Clock()).lost(Loss("no", status=status))
    assert (refused.value.code, refused.value.status) == ("bad_answer", status)


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_handshake_that_is_refused_for_now_is_tried_again(status: int) -> None:
    assert StreamProtocol(Follow(), Clock()).lost(Loss("no", status=status)) > 0


def test_a_wrong_key_is_an_error_at_once() -> None:
    stream = StreamProtocol(Follow(), Clock())
    stream.connected()
    with pytest.raises(ServiceError, match="unauthorized: no key"):
        stream.received(told("error", code="unauthorized", detail="no key"))


@pytest.mark.parametrize("code", ["too_many_streams", "rate_limited", "shutting_down"])
def test_a_full_service_is_tried_again_and_named_when_patience_ends(code: str) -> None:
    clock = Clock()
    stream = StreamProtocol(Follow(), clock, patience_s=1)
    full = told("error", code=code, detail="8 streams are open")
    stream.connected()
    stream.received(full)
    stream.lost(Loss("1013", close_code=1013))
    stream.connected()
    stream.received(full)
    clock.now_s += 1
    with pytest.raises(ServiceError, match=code):
        stream.lost(Loss("1013", close_code=1013))


def test_a_refused_config_is_an_error() -> None:
    with pytest.raises(ServiceError, match="invalid_request: points"):
        opened().received(told("error", code="invalid_request", detail="points: 98, 68 or 5"))


def test_an_error_of_a_frame_is_its_result_and_the_next_goes_on() -> None:
    stream = opened()
    put(stream, b"bad")
    stream.outgoing()
    stream.received(told("error", code="invalid_image", detail="damaged", seq=1, dropped=0))
    put(stream, b"good")
    stream.outgoing()
    stream.received(answer(2))
    bad, good = stream.results()
    assert bad.error is not None
    assert (bad.error.code, bad.error.detail, bad.state) == ("invalid_image", "damaged", "error")
    assert bad.faces == ()
    assert good.error is None


def test_a_frame_above_the_limit_is_an_error_that_is_not_sent() -> None:
    stream = opened()
    put(stream, b"x" * 1001)
    assert stream.outgoing() == []
    [frame] = stream.results()
    assert frame.error is not None
    assert (frame.error.code, frame.error.status, frame.seq) == ("too_many_bytes", 413, None)
    assert stream.idle


@pytest.mark.parametrize("realtime", [False, True])
def test_a_frame_that_closes_the_connection_by_its_size_is_not_sent_again(realtime: bool) -> None:
    stream = opened(realtime=realtime)
    put(stream, b"large")
    stream.outgoing()
    stream.lost(Loss("message too big", close_code=1009))
    [frame] = stream.results()
    assert frame.error is not None
    assert frame.error.code == "too_many_bytes"
    assert stream.idle


def test_messages_may_come_as_msgpack() -> None:
    stream = opened()
    put(stream, b"one")
    stream.outgoing()
    stream.received(msgpack.packb(json.loads(answer(1))))
    assert [f.seq for f in stream.results()] == [1]


@pytest.mark.parametrize("message", ["[]", "not JSON", b"\xc1"])
def test_a_message_that_is_none_of_the_service_is_an_error(message: str | bytes) -> None:
    with pytest.raises(ServiceError, match="bad_answer"):
        opened().received(message)


def test_an_answer_to_no_frame_is_an_error() -> None:
    with pytest.raises(ServiceError, match="not sent"):
        opened().received(answer(1))


def test_a_message_of_a_kind_that_is_not_known_is_passed_over() -> None:
    stream = opened()
    stream.received(told("closing", reason="shutting_down", token="t1"))
    stream.received(told("weather", detail="fine"))
    assert stream.results() == []

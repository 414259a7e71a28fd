"""Live sources: what a camera of the network that stalls, hangs up or sends junk comes to."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
from typer import BadParameter

from atpn.cli.camera import Camera, Patience, camera, shown
from atpn.cli.inputs import Unreadable
from atpn.cli.options import check_sources
from atpn.cli.sources import sources
from atpn.cli.video import Shot
from atpn.client.pictures import pixels
from tests import clips, mjpeg, rtsp
from tests.mjpeg import NO_PART, NO_PICTURE, SILENCE, NetworkCamera, frames, number_of


@dataclass
class Heard:
    """A camera's shots, what was said of it, and how it ended."""

    said: list[str] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    end: str = ""
    live: bool = True

    @property
    def told(self) -> list[int]:
        """The numbers that the pictures themselves tell."""
        return [number_of(np.asarray(shot.image, np.uint8)) for shot in self.shots]


def watched(url: str, tries: int = 2, silence_s: float = 0.6) -> Heard:
    """All that a camera shows."""
    heard = Heard()
    patience = Patience(silence_s, tries, heard.said.append, backoff=lambda _: 0.01)
    found = camera(url, patience)
    assert found is not None
    try:
        with found.open() as footage:
            heard.live = footage.live
            heard.shots.extend(footage.shots)
    except Unreadable as error:
        heard.end = str(error)
    return heard


def test_frames_come_with_the_time_that_they_came() -> None:
    with mjpeg.camera(frames(range(6), rate=20)) as network:
        heard = watched(network.url, tries=0)
    assert heard.live
    assert heard.told == list(range(6))
    times = [shot.time_s for shot in heard.shots]
    assert times[0] == 0
    assert times == sorted(times)
    assert times[-1] == pytest.approx(5 / 20, abs=0.15)


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        ([], "the connection failed or was cut"),
        ([SILENCE], "nothing came for 0.6 s"),
        ([NO_PART] * 100, "nothing came for 0.6 s"),
        ([NO_PICTURE] * 500, "nothing but junk came for 0.6 s"),
    ],
    ids=["hangs up", "stalls", "sends no stream any more", "sends junk for pictures"],
)
def test_a_camera_that_breaks_is_found_again_and_its_frames_go_on(
    breaks: list[mjpeg.Step], why: str
) -> None:
    first = chain(frames(range(3)), breaks)
    with mjpeg.camera(first, frames(range(3, 6))) as network:
        heard = watched(network.url)
        assert network.connections == 2 + 2  # two that failed in a row
    assert heard.told == list(range(6))
    name = network.url
    assert heard.said[0] in {
        f"{name}: {why}; trying again",
        f"{name}: the connection failed or was cut; trying again",
    }
    assert heard.said[1] == f"{name}: goes on"
    assert heard.end.endswith("given up after 2 further tries")


def test_junk_between_pictures_is_passed_over() -> None:
    steps = [NO_PICTURE, *frames([1]), NO_PICTURE, NO_PICTURE, *frames([2, 3])]
    with mjpeg.camera(steps) as network:
        heard = watched(network.url, tries=0)
    assert heard.told == [1, 2, 3]


@pytest.mark.parametrize(("status", "why"), [(404, "404"), (401, "401"), (503, "5XX")], ids=str)
def test_what_cannot_be_read_at_the_start_is_not_tried_again(status: int, why: str) -> None:
    with mjpeg.camera(status=status) as network:
        heard = watched(network.url)
        assert network.connections == 1
    assert (heard.shots, heard.said) == ([], [])
    assert heard.end.startswith("cannot be read as a video")
    assert why in heard.end


def test_a_server_of_something_else_and_one_that_says_nothing_are_no_cameras() -> None:
    page = [(b"<html><body>Welcome</body></html>" * 50, 0.0)]
    html = {"Content-Type": "text/html", "Content-Length": str(len(page[0][0]))}
    with mjpeg.camera(page, headers=html) as server:
        assert watched(server.url).end == "it ended without a picture"
    with mjpeg.camera([SILENCE], [], [NO_PICTURE] * 500) as network:
        assert watched(network.url).end == "nothing came for 0.6 s"
        assert watched(network.url).end == "the connection failed or was cut"
        assert watched(network.url).end == "nothing but junk came for 0.6 s"


def test_nobody_at_the_address_is_said_at_once() -> None:
    network = NetworkCamera()
    network.close()
    assert "refused" in watched(network.url).end


def test_a_recording_behind_a_url_is_read_frame_by_frame_to_its_end(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "v.mkv", clips.panning(12)).read_bytes()
    headers = {"Content-Type": "video/x-matroska", "Content-Length": str(len(data))}
    with mjpeg.camera([(data, 0)], headers=headers) as network:
        heard = watched(network.url)
    assert not heard.live
    assert len(heard.shots) == 12
    assert heard.shots[-1].time_s == pytest.approx(11 / 20)
    assert (heard.said, heard.end) == ([], "")


def test_devices_and_urls_are_cameras_whose_names_have_no_secrets_in_them() -> None:
    patience = Patience()
    assert sources("0", patience) == [Camera("camera 0", "/dev/video0", "v4l2", patience)]
    assert sources("/dev/video7", patience)[0].name == "/dev/video7"
    [found] = sources("rtsp://me:word@cam.example:554/live?pwd=word", patience)
    assert found.name == "rtsp://cam.example:554/live"
    assert shown("https://[::1]:80/a/b.cgi?c=d#e") == "https://[::1]:80/a/b.cgi"
    assert shown("rtsp://cam/s?user=me&password=w@rd") == "rtsp://cam/s"
    for odd in ("me:w/ord@h", "me:w?ord@h", "me:w#ord@h", "me:1/2@h:9/v", "h:9/v?password=w@rd"):
        assert shown(f"rtsp://{odd}") == "rtsp://..."
    for url in ("ftp://h/v.mp4", "file:///etc/passwd", "concat://a|b"):
        with pytest.raises(Unreadable, match="rtsp://, rtsps://, http://, https://"):
            sources(url, patience)


@pytest.mark.parametrize(
    ("argument", "endless"),
    [
        ("rtsp://cam/live", True),
        ("0", True),
        ("http://h/live.ts", True),
        ("https://h/a/clip.MP4?key=v", False),
    ],
)
def test_what_is_called_like_a_video_file_may_come_before_another(
    argument: str, endless: bool
) -> None:
    found = [*sources(argument, Patience()), *sources("rtsp://cam/2", Patience())]
    with pytest.raises(BadParameter, match="give it last") if endless else nullcontext():
        check_sources(found, one_alone=False, to_the_end=True)
    check_sources(found, one_alone=False, to_the_end=False)


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        Camera("camera", str(tmp_path / "none"), "v4l2").open().__enter__()


def test_a_device_is_read_through_ffmpegs_format_of_it() -> None:
    source = Camera("pattern", "testsrc=size=64x48:rate=100:duration=0.2", "lavfi", Patience(1, 0))
    shapes: list[tuple[int, ...]] = []
    with pytest.raises(Unreadable, match="it ended"), source.open() as footage:
        shapes.extend(np.asarray(shot.image).shape for shot in footage.shots)
    assert shapes == [(48, 64, 3)] * 20


def test_rtsp_is_read_and_found_again_after_it_hung_up() -> None:
    said: list[str] = []
    with rtsp.camera([pixels(mjpeg.picture(i)) for i in range(8)]) as url:  # again and again
        source = camera(url, Patience(10, 3, said.append, backoff=lambda _: 0.01))
        assert source is not None
        with source.open() as footage:
            shots = list(islice(footage.shots, 12))
    assert footage.live
    told = [number_of(np.asarray(shot.image, np.uint8)) for shot in shots]
    assert told == [*range(8), *range(4)]
    assert f"{url}: goes on" in said

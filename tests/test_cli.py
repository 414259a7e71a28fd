"""The command line: what it prints, writes and returns, here and with a running service."""

import csv
import errno
import hashlib
import io
import json
import os
import pickle
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from atpn.cli import main
from atpn.cli.backends import Backend
from atpn.cli.bench import Tally
from atpn.cli.camera import Patience
from atpn.cli.inputs import Unreadable, image_files
from atpn.cli.output import Csv, Entry
from atpn.cli.plot import SHADE, Plot, broken
from atpn.cli.report import Report
from atpn.cli.sources import sources
from atpn.cli.tables import FaceTable, TrackTable
from atpn.cli.video import Sequence, VideoFile
from atpn.cli.work import follow_one
from atpn.client import Client, Frame
from atpn.client.parts import Payload
from atpn.client.protocol import Follow
from atpn.client.requests import Wanted
from atpn.faces.smoothing import OneEuro
from tests import clips, mjpeg
from tests.server import Server, running

PHOTO = Path(__file__).parent / "photos" / "astronaut.jpg"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running service with a key."""
    digest = hashlib.sha256(b"open sesame").hexdigest()
    with running(api_key_hashes=json.dumps([digest])) as started:
        yield started


@pytest.fixture(scope="module")
def remote(server: Server) -> list[str]:
    """The options that lead to the service."""
    return ["--url", server.url, "--key", "open sesame"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of a moving face."""
    return clips.video(tmp_path_factory.mktemp("video") / "face.mp4", clips.panning(12))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, standard output and standard error of a command in this process."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return command


Run = Callable[..., tuple[int, str, str]]


def objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def process(*arguments: object, code: str = "pass", **options: Any) -> "subprocess.Popen[bytes]":
    """The command as a process of its own; ``code`` is run first.

    A shell that runs the tests in the background has told them to ignore interrupts, nohup to
    ignore hang-ups.
    """
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    hung_up = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    start = f"{heard}; {hung_up}; {code}; from atpn.cli import run; run()"
    return subprocess.Popen(
        [sys.executable, "-c", start, *map(str, arguments)],
        stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        **options,
    )


def finished(
    started: "subprocess.Popen[bytes]", stdin: bytes | None = None
) -> tuple[int, str, str]:
    out, err = started.communicate(stdin, timeout=60)
    return started.returncode, out.decode(), (err or b"").decode()


# images


def test_without_a_service_the_answer_is_that_of_the_service(run: Run, remote: list[str]) -> None:
    here = objects(run("align", PHOTO, "--pose", "--json")[1])
    there = objects(run("align", PHOTO, "--pose", "--json", *remote)[1])
    for [line] in (here, there):
        assert set(line.pop("ms")) == {"decode", "detect", "queue", "inference"}
    assert here == there
    [line] = here
    assert line["input"] == str(PHOTO)
    assert len(line["faces"][0]["landmarks"]) == 98
    assert abs(line["faces"][0]["pose"]["yaw"]) < 20


def test_good_inputs_are_done_beside_bad_ones_which_are_named(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    good, bad, empty = tmp_path / "good.jpg", tmp_path / "bad.jpg", tmp_path / "empty"
    shutil.copy(PHOTO, good)
    bad.write_bytes(b"no image")
    empty.mkdir()
    missing = tmp_path / "missing.jpg"
    code, out, err = run("align", bad, missing, empty, f"{empty}/*.png", good, "--json", *remote)
    assert code == 1
    assert [line["input"] for line in objects(out)] == [str(good)]
    for name, why in [
        (bad, "invalid_image"),
        (missing, "no such file"),
        (empty, "no file in it ends in .bmp, .jpeg"),
        (f"{empty}/*.png", "nothing matches"),
    ]:
        assert [line for line in err.splitlines() if f"atpn: {name}: " in line and why in line]


def test_folders_and_patterns_name_their_images_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [Path(file.name).name for file in image_files(str(tmp_path))]
    assert found == ["a.png", "b.JPG", "c.webp"]
    assert [f.name for f in image_files(f"{tmp_path}/*.png")] == [f"{tmp_path}/a.png"]
    assert len(image_files(f"{tmp_path}/**/*.*")) == 4


def test_csv_has_a_row_a_face_and_a_column_a_number(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    (tmp_path / "1.jpg").write_bytes(clips.two_faces())
    (tmp_path / "2.jpg").write_bytes(clips.empty())
    code, out, _ = run("align", tmp_path, "--csv", "--pose", "--points", 5, *remote)
    assert code == 0
    first, second, none = csv.DictReader(io.StringIO(out))
    assert [first["face"], second["face"], none["face"]] == ["1", "2", ""]
    assert none["input"].endswith("2.jpg")
    assert all(float(first[name]) is not None for name in first if name not in {"input", "error"})
    assert list(first)[-2:] == ["p4_x", "p4_y"]
    assert float(first["x0"]) <= float(first["p0_x"]) <= float(first["x1"])


def test_the_table_says_what_was_found(run: Run, remote: list[str]) -> None:
    code, out, _ = run("pose", PHOTO, *remote)
    assert code == 0
    assert "astronaut.jpg" in out
    assert "1 face in 1 image" in out
    assert "°" in out


def test_pose_has_no_landmarks(run: Run, remote: list[str]) -> None:
    [line] = objects(run("pose", PHOTO, "--json", *remote)[1])
    assert set(line["faces"][0]) == {"box", "confidence", "pose"}
    header = run("pose", PHOTO, "--csv", *remote)[1].splitlines()[0]
    assert header == "input,error,face,confidence,x0,y0,x1,y1,yaw,pitch,roll"


def test_annotated_images_are_written_under_names_of_their_own(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(PHOTO, tmp_path / folder / "x.jpg")
    drawn = tmp_path / "new" / "drawn"
    run("pose", tmp_path / "a", tmp_path / "b", "--draw", drawn, *remote)
    assert sorted(p.name for p in drawn.iterdir()) == ["x-2.jpg", "x.jpg"]
    before, after = cv2.imread(str(PHOTO)), cv2.imread(str(drawn / "x.jpg"))
    assert before is not None
    assert after is not None
    assert (np.abs(after.astype(int) - before)[60:190, 165:285] > 60).mean() > 0.02


def test_an_image_may_come_from_standard_input(remote: list[str]) -> None:
    started = process("align", "-", "--json", *remote, stdin=subprocess.PIPE)
    code, out, err = finished(started, PHOTO.read_bytes())
    assert (code, err) == (0, "")
    assert objects(out)[0]["input"] == "-"


# usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["align", "x.jpg", "--points", "97"], "98, 68 or 5"),
        (["track", "x.mp4", "--points", "0"], "98, 68 or 5"),
        (["track", "http://h/a", PHOTO, "--json"], "http://h/a does not end"),
        (["track", PHOTO, "--results", "x.txt"], ".csv or .jsonl"),
        (["track", PHOTO, "--results", "/none/x.csv"], "--results"),
        (["track", PHOTO, "--out", "/none/x.mp4"], "--out: "),
        (["track", PHOTO, "--out", "/none/x.foo"], "--out: "),
        (["track", PHOTO, "--out", "x.gif"], "takes none of libx264, mpeg4, libvpx-vp9"),
        (["track", PHOTO, "--plot", "/none/x.png"], "--plot: "),
        (["track", PHOTO, "--plot", "x.foo"], ".png, .pdf or .svg, not x.foo"),
        (["align", PHOTO, "--draw", "/proc/none"], "--draw: "),
        (["pose", PHOTO, "--draw", "/proc"], "--draw: "),
        (["track", PHOTO, "--mqtt", "http://h/t"], "mqtt://HOST:PORT/TOPIC"),
        (["track", PHOTO, "--mqtt", "mqtt://h/a/#"], "without + and #"),
        (["track", PHOTO, "--mqtt", "mqtt://me:pw@h/t"], "MQTT_USERNAME"),
        (["track", PHOTO, "--reconnect", "-1"], "--reconnect"),
        (["align", "x.jpg", "--json", "--csv"], "choose one"),
        (["align", "x.jpg", "--key", "k"], "give its --url"),
        (["align", "x.jpg", "--url", "localhost:8000"], "http://"),
        (["align", "x.jpg", "--url", "http://localhost:80o0"], "--url: 'http://localhost:80o0'"),
        (["track", "x.mp4", "--url", "http://localhost:80o0"], "--url: 'http://localhost:80o0'"),
        (["bench", "--url", "http://localhost:80o0"], "--url: 'http://localhost:80o0'"),
        (["align", "x.jpg", "--url", "http://h", "--key", "k\n"], "--key: ASCII alone"),
        (["bench", "--url", "http://h", "--key", "schlüssel"], "--key: ASCII alone"),
        (["align"], "images"),
        (["serve", "--port", "8001"], "set ATPN_PORT"),
        (["serve", "8001"], "environment variables: set ATPN_…"),
        (["serve", "--max-faces=3"], "set ATPN_MAX_FACES"),
        (["dance"], "dance"),
        (["bench"], "--url"),
        (["bench", "--url", "http://h", "--clients", "0"], "--clients"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_wrong(
    run: Run, arguments: list[Any], said: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())


def test_what_was_written_before_stays_where_another_output_cannot_be_written(
    run: Run, tmp_path: Path
) -> None:
    kept, new = tmp_path / "kept.mp4", tmp_path / "new.png"
    kept.write_bytes(b"kept")
    code, _, _ = run("track", PHOTO, "--out", kept, "--plot", new, "--results", "/none/x.csv")
    assert code == 2
    assert kept.read_bytes() == b"kept"
    assert not new.exists()


def test_help_and_version_are_no_errors(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("serve", "align", "pose", "track", "models", "bench"):
        assert command in out
    assert run("--version")[:2] == (0, "atpn 0.1.0\n")


def test_a_service_that_is_not_there_ends_the_work_at_once(run: Run) -> None:
    code, out, err = run("align", PHOTO, PHOTO, "--json", "--url", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert err.count("the service cannot be reached") == 1


def test_a_wrong_key_is_a_matter_of_configuration(run: Run, server: Server, video: Path) -> None:
    for command in (["align", PHOTO, PHOTO], ["track", video]):
        code, _, err = run(*command, "--url", server.url, "--key", "wrong")
        assert code == 2
        assert err.count("--key") == 1


def test_a_setting_that_is_not_known_stops_serve_with_its_name() -> None:
    started = process("serve", env=os.environ | {"ATPN_PROT": "1"})
    code, _, err = finished(started)
    assert code == 2
    assert err.startswith("atpn: unknown setting ATPN_PROT")


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["serve"], ["fastapi"], "cpu"),
        (["models"], ["onnxruntime"], "cpu"),
        (["align", PHOTO], ["onnxruntime", "cv2", "fastapi"], "cpu"),
        (["align", PHOTO], ["pydantic_settings"], "cpu"),
        (["track", PHOTO, "--url", "http://127.0.0.1:9"], ["av"], "video"),
        (["track", PHOTO, "--plot", "p.png"], ["matplotlib"], "video"),
        (["track", "http://127.0.0.1:9/", "--url", "http://127.0.0.1:9"], ["av"], "video"),
        (["track", PHOTO, "--mqtt", "mqtt://127.0.0.1:9/t"], ["paho"], "mqtt"),
    ],
)
def test_where_a_part_is_not_installed_it_is_said_how_to_install_it(
    arguments: list[Any], missing: list[str], extra: str
) -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(%r))" % missing  # noqa: UP031
    ended, out, err = finished(process(*arguments, code=code))
    assert (ended, out) == (2, "")
    assert f"pip install '.[{extra}]'" in err


def test_shells_can_complete_the_command() -> None:
    environment = os.environ | {"_ATPN_COMPLETE": "complete_bash", "COMP_WORDS": "atpn tr"}
    _, out, _ = finished(process(env=environment | {"COMP_CWORD": "1"}))
    assert out.split() == ["track"]


def test_the_models_are_listed(run: Run) -> None:
    code, out, _ = run("models", "--json")
    assert code == 0
    uses = {line["name"]: line["use"] for line in objects(out)}
    assert uses.items() >= {"atpn": "face model", "yunet": "detector"}.items()
    assert all(Path(line["path"]).is_file() for line in objects(out))
    assert re.search(r"yunet.*detector", run("models")[1])


def test_a_folder_of_models_that_is_not_there_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATPN_MODEL_DIR", "/nowhere")
    assert run("models") == (2, "", "atpn: ATPN_MODEL_DIR: there is no folder /nowhere\n")


@pytest.mark.parametrize("name", ["yunet", "nonsense"])
def test_a_model_that_finds_no_landmarks_is_refused_by_its_name(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATPN_MODEL", name)
    code, out, err = run("align", PHOTO)
    assert (code, out) == (2, "")
    assert err.startswith("atpn: ")
    assert f"model '{name}'" in err
    assert ("landmarks, pose, confidence" in err) is (name == "yunet")
    assert err.count("\n") == 1


# videos


def test_a_video_is_tracked_the_same_here_and_by_the_service(
    run: Run, remote: list[str], video: Path
) -> None:
    here = objects(run("track", video, "--json")[1])
    there = objects(run("track", video, "--json", *remote)[1])
    assert [line["frame"] for line in here] == [line["frame"] for line in there] == list(range(12))
    for one, other in zip(here, there, strict=True):
        assert one["state"] == other["state"]
        assert one["time_s"] == other["time_s"]
        assert [f["track_id"] for f in one["faces"]] == [f["track_id"] for f in other["faces"]]
        own, told = (np.array(line["faces"][0]["landmarks"]) for line in (one, other))
        np.testing.assert_allclose(own, told, atol=3)
    assert {f["track_id"] for line in here for f in line["faces"]} == {1}
    assert here[1]["time_s"] == pytest.approx(0.05)


def test_an_annotated_video_has_the_frames_and_the_length_of_its_input(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    out, plot = tmp_path / "out.mp4", tmp_path / "plot.png"
    code, text, err = run("track", video, "--out", out, "--plot", plot, *remote)
    assert (code, err) == (0, "")
    assert "12 of 12" in text
    assert "°" in text
    with av.open(str(out)) as container, av.open(str(video)) as original:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        plain = [f.to_ndarray(format="rgb24") for f in original.decode(video=0)]
    assert len(frames) == len(plain) == 12
    assert frames[0].shape == plain[0].shape
    with av.open(str(out)) as container:
        assert [f.time for f in container.decode(video=0)] == pytest.approx(
            [i / 20 for i in range(12)], abs=0.002
        )
    changed = np.abs(frames[6].astype(int) - plain[6]).max(2) > 60
    assert 0.01 < changed.mean() < 0.2
    diagram = cv2.imread(str(plot))
    assert diagram is not None
    assert diagram.shape[1] == 1200
    assert diagram.std() > 10


def test_an_annotated_video_may_be_webm(run: Run, remote: list[str], tmp_path: Path) -> None:
    short, out = clips.video(tmp_path / "short.mp4", clips.panning(3)), tmp_path / "out.webm"
    code, _, err = run("track", short, "--out", out, *remote)
    assert (code, err) == (0, "")
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name.startswith(("vp9", "libvpx"))
        assert sum(1 for _ in container.decode(video=0)) == 3


@pytest.mark.parametrize("option", ["--out", "--results", "--plot"])
def test_a_video_is_never_written_over(
    run: Run, remote: list[str], video: Path, tmp_path: Path, option: str
) -> None:
    one = tmp_path / {"--out": "a.mp4", "--results": "a.csv", "--plot": "a.png"}[option]
    shutil.copy(video, one)
    code, _, err = run("track", one, option, one.parent / "." / one.name, *remote)
    assert code == 2
    assert f"{one.name} is read from: write to another file" in err
    assert one.read_bytes() == video.read_bytes()


def test_a_frame_of_a_folder_is_never_written_over(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    for number in range(2):
        shutil.copy(PHOTO, tmp_path / f"{number}.png")
    code, _, err = run("track", tmp_path, "--plot", tmp_path / "0.png", *remote)
    assert code == 2
    assert "0.png is read from: write to another file" in err
    assert (tmp_path / "0.png").read_bytes() == Path(PHOTO).read_bytes()


def test_an_image_is_never_drawn_over(run: Run, remote: list[str], tmp_path: Path) -> None:
    one, other = tmp_path / "a.jpg", tmp_path / "b" / "a.jpg"
    other.parent.mkdir()
    for path in (one, other):
        shutil.copy(PHOTO, path)
    code, _, _ = run("align", other, one, "--draw", tmp_path, *remote)
    assert code == 0
    assert one.read_bytes() == other.read_bytes() == Path(PHOTO).read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["a-2.jpg", "a-3.jpg", "a.jpg"]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
def test_an_image_is_not_drawn_over_through_a_link(
    run: Run, remote: list[str], tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    one, drawn = tmp_path / "a.jpg", tmp_path / "drawn"
    shutil.copy(PHOTO, one)
    drawn.mkdir()
    link(drawn / "a.jpg", one)
    for named in (one, drawn / "a.jpg"):
        code, _, _ = run("align", named, "--draw", drawn, *remote)
        assert code == 0
        assert one.read_bytes() == Path(PHOTO).read_bytes()
    assert sorted(path.name for path in drawn.iterdir()) == ["a-2.jpg", "a.jpg"]


def test_a_video_that_cannot_be_written_any_more_is_not_said_to_be_unreadable(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full.mp4"
    full.symlink_to("/dev/full")
    code, _, err = run("track", video, "--out", full, *remote)
    assert code == 1
    assert "full.mp4 cannot be written: No space left on device" in " ".join(err.split())
    assert "cannot be read" not in err


def test_results_that_cannot_be_written_are_no_fault_of_the_source(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    full, drawn = tmp_path / "full.jsonl", tmp_path / "drawn"
    full.symlink_to("/dev/full")
    drawn.mkdir()
    (drawn / "astronaut.jpg").symlink_to("/dev/full")
    for written, arguments in [
        (full, ["track", video, "--results", full]),
        (drawn / "astronaut.jpg", ["align", PHOTO, "--draw", drawn]),
    ]:
        code, _, err = run(*arguments, *remote)
        assert code == 1
        assert err.startswith(f"atpn: {written} cannot be written: ")
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("form", ["--json", "--csv", "a table"])
def test_a_full_disk_behind_standard_output_is_told_in_one_line(
    remote: list[str], video: Path, form: str
) -> None:
    command = ["align", PHOTO] if form == "--json" else ["track", video]
    arguments = [form] if form.startswith("--") else []
    with Path("/dev/full").open("wb") as full:
        started = process(*command, *arguments, *remote, stdout=full)
        _, err = started.communicate(timeout=60)
    told = b"atpn: standard output cannot be written: No space left on device\n"
    assert (started.returncode, err) == (1, told)


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_pipe_that_is_closed_ends_the_command_quietly(
    remote: list[str], video: Path, form: str
) -> None:
    for command in (["align", PHOTO, PHOTO], ["track", video, video]):
        started = process(*command, form, *remote)
        assert started.stdout is not None
        started.stdout.close()
        started.stdout = None
        _, err = started.communicate(timeout=60)
        assert (started.returncode, err) == (1, b"")


def test_a_diagram_with_signals_shows_eyes_mouth_and_blinks(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "plot.svg"
    code, _, err = run("track", video, "--signals", "--plot", plot, *remote)
    assert (code, err) == (0, "")
    words = plot.read_text()
    for word in ("face 1, degrees", "face 1, openness", "left eye open", "mouth open"):
        assert f"<!-- {word} -->" in words


def test_a_diagram_shades_each_blink_once(tmp_path: Path) -> None:
    def eye(opened: float | None) -> Payload:
        return {"open": opened, "pupil": None}

    def frame(number: int, opened: float | None, last: Payload | None) -> Entry:
        blinks = {"count": int(last is not None), "closed_s": 0.0, "last": last}
        signals = {"left_eye": eye(opened), "right_eye": eye(opened), "mouth_open": 0.1}
        signals |= {"smile": 0.0, "brow_raise": 0.0, "blinks": blinks}
        pose = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0}
        face = {"track_id": 7, "confidence": 1.0, "pose": pose, "signals": signals}
        return Entry("x.mp4", Frame({"faces": [face], "state": "tracked"}), number / 10)

    plot = Plot(tmp_path / "plot.svg", signals=True)
    before = {"seq": 3, "length_s": 0.2}
    for number in range(10):
        last = {**before, "ago_s": round((number - 3) / 10, 3)} if number > 4 else None
        plot.add(frame(number, None if number == 8 else 0.9, last))
    plot.close()
    assert (tmp_path / "plot.svg").read_text().count(SHADE) == 1


def test_the_csv_of_a_video_has_a_row_a_face_of_each_frame(
    run: Run, remote: list[str], video: Path
) -> None:
    code, out, _ = run("track", video, "--csv", "--points", 68, "--frames", 5, *remote)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["frame"] for row in rows] == [str(i) for i in range(5)]
    assert {row["track_id"] for row in rows} == {"1"}
    assert rows[0]["state"] == "detected"
    assert "p67_y" in rows[0]
    assert "p68_x" not in rows[0]


def test_smoothed_landmarks_go_by_the_videos_own_time(
    run: Run, remote: list[str], video: Path
) -> None:
    """However long a frame took; all else in the answer stays as it is."""
    raw = objects(run("track", video, "--json", *remote)[1])
    smooth = objects(run("track", video, "--json", "--smooth", *remote)[1])
    filtered, moved = OneEuro(), 0.0
    for one, other in zip(raw, smooth, strict=True):
        before, after = one["faces"][0].pop("landmarks"), other["faces"][0].pop("landmarks")
        x0, _, x1, _ = one["faces"][0]["roi"]
        expected = filtered(np.array(before, np.float32), x1 - x0, one["time_s"])
        np.testing.assert_allclose(after, expected, atol=0.006)
        assert one["faces"] == other["faces"]
        moved = max(moved, float(np.abs(np.subtract(before, after)).max()))
    assert moved > 0.1


def test_what_is_no_video_is_named_and_the_others_are_tracked(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    code, out, err = run("track", text, "missing.mp4", video, "--json", "--frames", 2, *remote)
    assert code == 1
    assert {line["input"] for line in objects(out)} == {str(video)}
    assert f"atpn: {text}: cannot be read as a video" in err
    assert "atpn: missing.mp4: no such file" in err


def test_a_damaged_video_is_tracked_as_far_as_it_goes(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    whole = clips.video(tmp_path / "whole.ts", clips.panning(12)).read_bytes()
    damaged = tmp_path / "half.ts"
    damaged.write_bytes(whole[: len(whole) // 2])
    _, out, _ = run("track", damaged, "--json", *remote)
    assert 1 < len(objects(out)) < 12


def test_damaged_pieces_of_a_video_are_left_out_and_told(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    video = clips.video(tmp_path / "whole.mp4", clips.panning(40))
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    video.write_bytes(data)
    code, out, err = run("track", video, "--json", *remote)
    assert code == 1
    assert re.search(r"whole.mp4: \d+ damaged pieces of the video were left out", err)
    assert objects(out)[-1]["time_s"] == 1.95  # the last: it goes on behind them


@pytest.mark.parametrize("name", ["2026-05-01T12:30:00.mp4", "concat:a.mp4", "a$b_$c.mp4"])
def test_a_video_may_be_called_what_ffmpeg_or_a_diagram_would_read_otherwise(
    run: Run, remote: list[str], tmp_path: Path, name: str
) -> None:
    shutil.copy(clips.video(tmp_path / "short.mp4", clips.panning(3)), tmp_path / name)
    (tmp_path / "out").mkdir()
    drawn, plot = tmp_path / "out" / name, tmp_path / "plot.png"
    code, out, err = run(
        "track", tmp_path / name, "--json", "--out", drawn, "--plot", plot, *remote
    )
    assert (code, err) == (0, "")
    assert len(objects(out)) == 3
    assert drawn.stat().st_size > 0
    assert plot.stat().st_size > 0


def test_a_folder_of_images_is_one_video_and_a_bad_one_is_an_error_in_its_place(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    for index, frame in enumerate(clips.panning(4)):
        (tmp_path / f"{index}.jpg").write_bytes(frame if index != 1 else b"no image")
    out = tmp_path / "out.mp4"
    for where in ([], remote):
        code, lines, err = run("track", tmp_path, "--json", "--out", out, *where)
        assert code == 1
        told = objects(lines)
        assert [line.get("state") for line in told] == ["detected", None, "tracked", "tracked"]
        assert told[1]["error"]["code"] == "invalid_image"
        assert "frame 1: invalid_image" in err
        with av.open(str(out)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 3


def test_arguments_of_track_name_videos_and_folders(tmp_path: Path, video: Path) -> None:
    find = partial(sources, patience=Patience())
    assert find(str(video)) == [VideoFile(str(video))]
    assert find("-") == [VideoFile("-")]
    shutil.copy(video, tmp_path / "b.mp4")
    shutil.copy(video, tmp_path / "a.mov")
    names = [source.name for source in find(str(tmp_path))]
    assert names == [str(tmp_path / "a.mov"), str(tmp_path / "b.mp4")]
    (tmp_path / "1.png").write_bytes(b"")
    assert find(str(tmp_path)) == [Sequence(str(tmp_path), [tmp_path / "1.png"])]
    (tmp_path / "none").mkdir()
    with pytest.raises(Unreadable, match="neither images nor videos"):
        find(str(tmp_path / "none"))


def test_a_camera_that_is_not_there_is_named(run: Run, remote: list[str]) -> None:
    code, _, err = run("track", "97", *remote)
    assert code == 1
    assert err == "atpn: camera 97: cannot be read as a video: No such file or directory\n"


def test_two_videos_do_not_make_one_annotated_video(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    code, _, err = run("track", video, video, "--out", tmp_path / "o.mp4", *remote)
    assert code == 2
    assert "--out" in err


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_video_may_come_from_standard_input(
    remote: list[str], tmp_path: Path, suffix: str
) -> None:
    data = clips.video(tmp_path / f"v.{suffix}", clips.panning(3)).read_bytes()
    started = process("track", "-", "--json", *remote, stdin=subprocess.PIPE)
    code, out, err = finished(started, data)
    assert (code, err) == (0, "")
    assert [line["frame"] for line in objects(out)] == [0, 1, 2]


def test_an_interrupt_ends_cleanly_with_what_was_done(remote: list[str], tmp_path: Path) -> None:
    long = clips.video(tmp_path / "long.mp4", clips.panning(400))
    out = tmp_path / "out.mp4"
    started = process("track", long, "--json", "--out", out, *remote)
    assert started.stdout is not None
    first = [started.stdout.readline() for _ in range(5)]
    started.send_signal(signal.SIGINT)
    code, rest, err = finished(started)
    assert code == 130
    assert "Traceback" not in err
    lines = objects(b"".join(first).decode() + rest)
    assert 5 <= len(lines) < 400
    with av.open(str(out)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert len(lines) - 1 <= frames <= len(lines)


def test_an_interrupt_does_not_wait_for_work_that_hangs() -> None:
    """Standard input that does not come, in a thread."""
    with running() as started, subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as silent:
        hanging = process("align", "-", "--url", started.url, stdin=silent.stdout)
        time.sleep(1.5)
        hanging.send_signal(signal.SIGINT)
        try:
            assert hanging.wait(10) == 130
        finally:
            hanging.kill()
            silent.kill()
            hanging.communicate()


@pytest.mark.parametrize("form", ["--csv", "--json", "a table"])
def test_a_name_that_is_no_text_is_an_input_like_others(
    remote: list[str], tmp_path: Path, form: str
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    shutil.copy(PHOTO, odd)
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    arguments = [form] if form.startswith("-") else []
    code, out, err = finished(process("align", odd, *arguments, *remote, env=environment))
    assert (code, err) == (0, "")
    assert "caf" in out


def test_results_of_a_name_that_is_no_text_are_written_under_it(
    remote: list[str], tmp_path: Path
) -> None:
    odd, out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")), tmp_path / "faces.csv"
    clips.video(tmp_path / "plain.mp4", clips.panning(2)).rename(odd)
    code, _, err = finished(process("track", odd, "--results", out, *remote))
    assert (code, err) == (0, "")
    assert out.read_bytes().count(b"caf\xe9.mp4") == 2


def test_a_path_that_is_too_long_is_named_and_the_others_are_done(
    run: Run, remote: list[str]
) -> None:
    code, out, err = run("align", "a" * 300, PHOTO, "--json", *remote)
    assert code == 1
    assert "no such file" in err
    assert len(objects(out)) == 1


def test_a_path_that_may_not_be_looked_at_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, who may look at all."""

    def refuse(_: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("x.jpg", "x.mp4"):
        (tmp_path / name).touch()
    for test in ("is_file", "iterdir"):
        monkeypatch.setattr(Path, test, refuse)
        for find in (image_files, lambda name: sources(name, Patience())):
            for argument in (tmp_path, tmp_path / "x.jpg") if test == "is_file" else (tmp_path,):
                with pytest.raises(Unreadable, match="Permission denied"):
                    find(str(argument))
        monkeypatch.undo()
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(Unreadable, match="Permission denied"):
        image_files(str(tmp_path / "*.jpg"))


def test_an_empty_name_is_not_the_folder_where_we_are() -> None:
    with pytest.raises(Unreadable, match="no name is given"):
        image_files("")


def test_a_long_video_shows_how_fast_it_goes_and_how_long_it_takes(
    remote: list[str], tmp_path: Path
) -> None:
    """On a terminal alone."""
    long = clips.video(tmp_path / "long.mp4", clips.panning(60))
    terminal, end = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    started = process("track", long, *remote, stderr=end, env=environment)
    os.close(end)
    shown = b""
    with suppress(OSError):  # the terminal is gone when nobody holds its other end
        while data := os.read(terminal, 4096):
            shown += data
    os.close(terminal)
    code, out, _ = finished(started)
    assert code == 0
    assert "60 of 60" in out
    assert re.search(rb"/60.*\d\.\d/s.*\d:\d\d:\d\d", shown)


def test_results_go_to_a_file_by_its_ending_beside_the_table(
    run: Run, remote: list[str], video: Path, tmp_path: Path
) -> None:
    lines, rows = tmp_path / "faces.jsonl", tmp_path / "faces.csv"
    code, out, err = run("track", video, "--results", lines, *remote)
    assert (code, err) == (0, "")
    assert "12 of 12" in out
    told = objects(lines.read_text())
    assert [line["frame"] for line in told] == list(range(12))
    code, out, _ = run("track", video, "--results", rows, "--json", "--smooth", *remote)
    table = list(csv.DictReader(io.StringIO(rows.read_text())))
    assert [row["frame"] for row in table] == [str(i) for i in range(12)]
    assert float(table[3]["p0_x"]) == objects(out)[3]["faces"][0]["landmarks"][0][0]


def test_a_long_video_takes_no_more_memory_for_its_table() -> None:
    table = TrackTable(Wanted(pose=True))
    face = {"track_id": 1, "confidence": 0.5, "box": [0, 0, 1, 1]}
    for index in range(1000):
        pose = {"yaw": index % 10 - 5, "pitch": 0, "roll": 1}
        answer = {"faces": [face | {"pose": pose}]}
        table.add(Entry("v", Frame(answer, index=index), index / 25))
    [seen] = table._seen.values()
    assert (seen.frames, seen.first_s, seen.last_s) == (1000, 0, 999 / 25)
    assert (seen.low, seen.high) == ((-5, 0, 1), (4, 0, 1))
    assert len(pickle.dumps(table)) < 1000


@pytest.mark.parametrize("name", ["talk [dQw4w9WgXcQ].mp4", "a [/] b", ":smile:", "end\\"])
def test_the_table_and_the_messages_have_names_as_they_are(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    face = {"track_id": 1, "confidence": 0.5, "box": [0, 0, 1, 1]}
    for faces in ([face], []):
        for table in (TrackTable(Wanted()), FaceTable(Wanted())):
            table.add(Entry(name, Frame({"faces": faces}), 0.0))
            table.close()
            assert name in capsys.readouterr().out
    Report().say(name)
    assert capsys.readouterr().err == f"atpn: {name}\n"


SIGNALS = {
    "left_eye": {"open": 0.9, "pupil": [0.01, -0.1]},
    "right_eye": {"open": None, "pupil": None},
    **{"mouth_open": 0.1, "smile": 0.5, "brow_raise": 0.0},
    "blinks": {"count": 3, "closed_s": 0.0, "last": None},
}


def test_the_signals_of_images_are_columns_and_cells(run: Run, remote: list[str]) -> None:
    [row] = csv.DictReader(io.StringIO(run("align", PHOTO, "--csv", "--signals", *remote)[1]))
    assert 0.5 < float(row["left_eye_open"]) <= 1
    assert abs(float(row["right_pupil_x"])) < 0.5
    assert float(row["smile"]) > 0.3
    assert "blinks" not in row
    out = run("pose", PHOTO, "--signals", *remote)[1]
    assert re.search(r"eyes open.*mouth open.*smile.*brows", out)
    assert re.search(r"\d+ % \d+ %", out)


def test_the_signals_of_a_video_have_its_blinks(run: Run, remote: list[str], video: Path) -> None:
    for where in ([], remote):
        out = run("track", video, "--csv", "--signals", *where)[1]
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["blinks"] for row in rows] == ["0"] * 12
        assert "blinks" in run("track", video, "--signals", *where)[1]


def test_what_is_turned_away_is_an_empty_column_and_the_last_count_of_blinks_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = Wanted(pose=False, signals=True)
    table, rows = TrackTable(wanted), io.StringIO()
    numbers = Csv(rows, wanted, frames=True, landmarks=False)
    for index, count in enumerate([2, 3]):
        signals = SIGNALS | {"blinks": {"count": count, "closed_s": 0.0, "last": None}}
        face = {"track_id": 1, "confidence": 0.5, "box": [0, 0, 1, 1], "signals": signals}
        for sink in (table, numbers):
            sink.add(Entry("v", Frame({"state": "tracked", "faces": [face]}, index=index), 0.04))
    _, last = csv.DictReader(io.StringIO(rows.getvalue()))
    assert (last["left_eye_open"], last["right_eye_open"], last["blinks"]) == ("0.9", "", "3")
    table.close()
    assert re.search(r"blinks.*\n.*3", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(("signals", "fps"), [(True, 20.0), (False, None)])
def test_blinks_of_a_recording_are_timed_by_its_own_frames(
    video: Path, signals: bool, fps: float | None
) -> None:
    asked: list[float | None] = []

    class Asked(Client):
        """Remembers how its frames are to be timed, and answers none."""

        def track(self, *_: Any, fps: float | None = None, **__: Any) -> Any:
            asked.append(fps)
            return iter(())

    backend = Backend(Asked(), 1)
    follow_one(backend, VideoFile(str(video)), Follow(signals=signals), None, [], Report())
    assert asked == [fps]


# cameras


def test_a_camera_is_followed_until_it_is_gone_for_good(
    run: Run, remote: list[str], tmp_path: Path
) -> None:
    rows = tmp_path / "faces.csv"
    for where in ([], remote):
        with mjpeg.camera(mjpeg.frames(range(15), rate=15)) as network:
            arguments = ["--json", "--reconnect", 1, "--results", rows]
            code, out, err = run("track", network.url, *arguments, *where)
        lines = objects(out)
        assert code == 1
        assert {line["input"] for line in lines} == {network.url}
        assert {face["track_id"] for line in lines for face in line["faces"]} == {1}
        numbers = [line["frame"] for line in lines]
        assert numbers[-1] == 14
        assert sum(1 + line["dropped"] for line in lines) == 15
        assert numbers == sorted(set(numbers))
        table = csv.DictReader(io.StringIO(rows.read_text()))
        assert [int(row["frame"]) for row in table] == numbers
        again, summary, gone = err.splitlines()
        assert again == f"atpn: {network.url}: the connection failed or was cut; trying again"
        counted = f"{len(lines)} frames, {15 - len(lines)} dropped"
        assert summary == f"atpn: {network.url}: {counted}"
        assert gone.endswith("given up after 1 further tries")


def test_a_camera_that_is_too_fast_is_kept_up_with(run: Run) -> None:
    with mjpeg.camera(mjpeg.frames(range(200), rate=1000)) as network:
        _, out, err = run("track", network.url, "--json", "--reconnect", 0)
    lines = objects(out)
    assert lines[-1]["frame"] == 199
    assert sum(1 + line["dropped"] for line in lines) == 200
    assert f"{len(lines)} frames, {200 - len(lines)} dropped" in err


def test_a_number_of_frames_ends_a_camera_well(run: Run, remote: list[str]) -> None:
    steps = mjpeg.frames(range(200), rate=20)
    with mjpeg.camera(steps) as network:
        code, out, err = run("track", network.url, "--json", "--frames", 4, *remote)
    assert code == 0
    assert 1 <= len(objects(out)) <= 4
    assert len(err.splitlines()) == 1


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_ends_a_camera_cleanly_with_what_was_done(
    remote: list[str], tmp_path: Path, number: int, code: int
) -> None:
    out, lines = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    with mjpeg.camera([*mjpeg.frames(range(10), rate=20), mjpeg.SILENCE]) as network:
        started = process("track", network.url, "--out", out, "--results", lines, *remote)
        deadline = time.monotonic() + 30
        while not (lines.exists() and lines.read_text().count("\n") > 3):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started.send_signal(number)
        ended, table, err = finished(started)
    assert ended == code
    assert "Traceback" not in err
    told = objects(lines.read_text())
    counted = re.search(r"(\d+) frames", table)
    assert counted
    assert 0 <= int(counted[1]) - len(told) <= 1  # the signal may come between the two
    with av.open(str(out)) as container:
        assert len(told) - 1 <= sum(1 for _ in container.decode(video=0)) <= len(told)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_what_a_full_disk_does_not_take_is_told_whenever_it_is_written(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        started = process("models", "--json", stdout=full, env=environment)
        _, err = started.communicate(timeout=60)
    assert started.returncode == 1
    assert err == b"atpn: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("smooth", [[], ["--smooth"]], ids=["plain", "smoothed"])
def test_a_terminal_that_is_closed_leaves_whole_files(
    remote: list[str], tmp_path: Path, smooth: list[str]
) -> None:
    """The kernel and the shell both tell it; nothing can be shown any more."""
    out, lines = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    terminal, end = pty.openpty()
    with mjpeg.camera([*mjpeg.frames(range(10), rate=20), mjpeg.SILENCE]) as network:
        arguments = ["track", network.url, "--out", out, "--results", lines, *remote]
        started = process(*arguments, *smooth, stdout=end, stderr=end)
        os.close(end)
        deadline = time.monotonic() + 30
        while not (lines.exists() and lines.read_text().count("\n") > 3):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.close(terminal)
        for _ in range(2):
            started.send_signal(signal.SIGHUP)
        assert started.wait(30) == 129
    told = objects(lines.read_text())
    with av.open(str(out)) as container:
        assert len(told) - 1 <= sum(1 for _ in container.decode(video=0)) <= len(told)


def test_a_command_that_is_to_outlive_its_terminal_does(remote: list[str]) -> None:
    with mjpeg.camera(mjpeg.frames(range(20), rate=20)) as network:
        nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
        arguments = ["track", network.url, "--json", "--reconnect", 0, *remote]
        started = process(*arguments, code=nohup)
        assert started.stdout is not None
        started.stdout.readline()
        started.send_signal(signal.SIGHUP)
        code, rest, _ = finished(started)
    assert code == 1  # the camera went away
    assert objects(rest)[-1]["frame"] == 19


#: Passwords with signs that end a host, which nobody escaped.
ODD = ("rtsp://me:a/sesame@h:9/v", "rtsp://me:a#sesame@h:9/v", "rtsp://me:a?sesame@h:9/v")


def test_secrets_of_a_cameras_address_are_not_shown(run: Run, remote: list[str]) -> None:
    with mjpeg.camera(mjpeg.frames(range(5))) as network:
        url = network.url.replace("://", "://me:sesame@") + "?pwd=sesame"
        code, out, err = run("track", url, "--json", "--reconnect", 0, *remote)
    assert code == 1
    assert objects(out)[0]["input"] == network.url
    assert "sesame" not in out + err
    for wrong in (
        "ftp://me:sesame@h/v",
        "http://me:sesame@[::1/v",
        "rtsp://me:sesame@h:x/?sesame",
        *ODD,
    ):
        code, out, err = run("track", wrong, "--json", *remote)
        assert code == 1
        assert len(err.splitlines()) == 1
        assert "sesame" not in out + err


def test_lines_break_where_a_face_was_away() -> None:
    rows = np.array([[0.0, 1], [0.1, 2], [0.2, 3], [1.0, 4], [1.1, 5]])
    assert np.isnan(broken(rows)[:, 1]).tolist() == [False, False, False, True, False, False]
    assert broken(rows[:1]).tolist() == [[0.0, 1.0]]


# bench


def test_bench_measures_rates_and_latencies(run: Run, remote: list[str]) -> None:
    code, out, _ = run("bench", *remote, "--seconds", 1, "--clients", 2, "--json")
    assert code == 0
    [figures] = objects(out)
    assert figures["requests"] > 1
    assert figures["faces_per_s"] == pytest.approx(figures["requests_per_s"])
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert figures["errors"] == {}
    code, out, _ = run("bench", *remote, "--seconds", 0.5, "--image", PHOTO)
    assert code == 0
    assert "p99 ms" in out


def test_figures_of_nothing_are_json() -> None:
    figures = Tally(seconds=1).figures
    assert figures["p50_ms"] is figures["p99_ms"] is None
    json.dumps(figures, allow_nan=False)


def test_bench_of_a_service_that_is_not_there_fails(run: Run) -> None:
    code, _, err = run("bench", "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "cannot be reached" in err

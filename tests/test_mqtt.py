"""Results as messages: a real broker on loopback that asks for passwords and goes away."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from atpn.cli import main
from atpn.cli.mqtt import WAITING, Mqtt, Topic, topic
from atpn.cli.output import Entry
from atpn.cli.report import Report
from atpn.client import Frame
from tests import clips
from tests.stores import free_port

#: Debian keeps it where programs of root are.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="no mosquitto on the PATH")

Run = Callable[..., tuple[int, str, str]]


class Broker:
    """Mosquitto on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port = free_port()
        self.topic = Topic("127.0.0.1", self.port, "faces/door", tls=False)
        self._config = folder / "mosquitto.conf"
        lines = (f"listener {self.port} 127.0.0.1", "user root", *settings)
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it listens."""
        assert MOSQUITTO is not None
        log = subprocess.DEVNULL
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._config], stderr=log)
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise RuntimeError("the broker did not start")

    def stop(self) -> None:
        """Go away without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def running(folder: Path, *settings: str) -> Iterator[Broker]:
    """A broker that is ended with the block."""
    broker = Broker(folder, *settings)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that lets everybody in."""
    with running(tmp_path, "allow_anonymous true") as started:
        yield started


@contextmanager
def listening(broker: Broker) -> Iterator[list[bytes]]:
    """What comes to the broker's topic while the block runs."""
    heard: list[bytes] = []
    ready = Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_subscribe = lambda *_: ready.set()

    def hear(_client: Client, _data: object, message: MQTTMessage) -> None:
        heard.append(bytes(message.payload))

    client.on_message = hear
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        waited(client.is_connected)
        client.subscribe(broker.topic.name, qos=1)
        assert ready.wait(10)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, standard output and standard error of a command in this process."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a moving face."""
    return clips.video(tmp_path_factory.mktemp("video") / "face.mp4", clips.panning(6))


def entry(index: int) -> Entry:
    """The result of a frame without faces."""
    return Entry("video", Frame({"faces": [], "state": "lost"}, index=index), index / 25)


def waited(condition: Callable[[], bool], within_s: float = 15) -> None:
    """Return when ``condition()`` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_result_is_a_message_of_the_same_json(run: Run, broker: Broker, video: Path) -> None:
    with listening(broker) as heard:
        code, out, err = run("track", video, "--json", "--mqtt", broker.topic)
        waited(lambda: len(heard) == 6)
    assert (code, err) == (0, "")
    assert [json.loads(message) for message in heard] == [
        json.loads(line) for line in out.splitlines()
    ]


def test_a_password_comes_from_the_environment_and_a_wrong_one_is_a_matter_of_configuration(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "camera", "sesame"], check=True)
    with running(tmp_path, f"password_file {passwords}") as broker:
        arguments = ("track", video, "--json", "--frames", 1, "--mqtt", broker.topic)
        anonymous = run(*arguments)
        monkeypatch.setenv("MQTT_USERNAME", "camera")
        monkeypatch.setenv("MQTT_PASSWORD", "wrong")
        wrong = run(*arguments)
        monkeypatch.setenv("MQTT_PASSWORD", "sesame")
        right = run(*arguments)
    for code, out, err in (anonymous, wrong):
        assert (code, out) == (2, "")
        assert err.startswith(f"atpn: {broker.topic}: Not authorized")
        assert len(err.splitlines()) == 1
        assert "MQTT_PASSWORD" in err
    assert (right[0], right[2]) == (0, "")


@pytest.mark.filterwarnings(  # paho leaves the socket of a failed handshake to the collector
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_broker_is_trusted_by_its_certificate(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-days", "1"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", *subject]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    settings = (f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true")
    with running(tmp_path, *settings) as broker:
        url = f"{broker.topic}".replace("mqtt:", "mqtts:")
        code, out, err = run("track", video, "--json", "--frames", 1, "--mqtt", url)
        assert (code, out) == (1, "")
        assert "CERTIFICATE_VERIFY_FAILED" in err
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert run("track", video, "--json", "--frames", 1, "--mqtt", url)[0] == 0


def test_a_broker_that_is_not_there_or_says_nothing_is_said_at_once(run: Run, video: Path) -> None:
    for_nobody = Topic("127.0.0.1", free_port(), "t", tls=False)
    code, out, err = run("track", video, "--json", "--mqtt", for_nobody)
    assert (code, out) == (1, "")
    assert err.startswith(f"atpn: {for_nobody}: the broker cannot be reached: ")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"mqtt://127.0.0.1:{mute.getsockname()[1]}/t"
        code, out, err = run("track", video, "--json", "--mqtt", url, "--timeout", 0.5)
    assert (code, out, err) == (1, "", f"atpn: {url}: no answer within 0.5 s\n")


def test_results_wait_while_the_broker_is_away_and_those_too_many_are_told(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report()
    sink = Mqtt(broker.topic, report, 5)
    broker.stop()
    for index in range(WAITING + 7):
        sink.add(entry(index))
    broker.start()
    with listening(broker) as heard:
        sink.close()
        assert 1 <= len(heard) <= WAITING
    assert report.exit_code == 1
    told = f"7 of {WAITING + 7} results did not reach the broker"
    assert capsys.readouterr().err == f"atpn: {broker.topic}: {told}\n"


def test_a_broker_that_does_not_come_back_costs_a_little_patience(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report()
    sink = Mqtt(broker.topic, report, 5)
    broker.stop()
    sink.add(entry(0))
    started = time.monotonic()
    sink.close()
    assert time.monotonic() - started < 8
    assert "1 of 1 results did not reach the broker" in capsys.readouterr().err


def test_an_address_names_host_port_and_topic() -> None:
    assert topic("mqtt://h/a/b%20c") == Topic("h", 1883, "a/b c", tls=False)
    assert topic("mqtts://h:1/a") == Topic("h", 1, "a", tls=True)
    assert str(topic("mqtts://h/a")) == "mqtts://h:8883/a"
    for wrong in (
        "mqtt://h",
        "mqtt:///a",
        "mqtt://h/+/a",
        "mqtt://h/a/%23",
        "mqtt://h/a?b",
        "mqtt://h:x/a",
        "h/a",
    ):
        with pytest.raises(ValueError, match=r".+"):
            topic(wrong)

"""Results as messages of an MQTT broker."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from atpn.cli.output import Entry, Sink
from atpn.cli.report import Report, Stopped
from atpn.extras import needs

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

PORTS = {"mqtt": 1883, "mqtts": 8883}
WAITING = 1000  # messages that wait while the broker is away; further ones are dropped
RECONNECT_S = (1, 30)  # first and longest wait
KEEPALIVE_S = 30
QUEUE_FULL = 15  # MQTT_ERR_QUEUE_SIZE
LAST_WAIT_S = 5.0  # at the end, for what the broker has not confirmed


@dataclass(frozen=True)
class Topic:
    """Where results go."""

    host: str
    port: int
    name: str
    tls: bool

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}/{self.name}"


def topic(url: str) -> Topic:
    """The topic of ``mqtt://host:port/topic`` or, by TLS, ``mqtts://…``; ValueError else."""
    parts = urlsplit(url)
    if parts.username is not None:
        raise ValueError("user and password come from MQTT_USERNAME and MQTT_PASSWORD")
    name = unquote(parts.path[1:])
    if parts.scheme not in PORTS or not parts.hostname or "?" in url:
        raise ValueError("mqtt://HOST:PORT/TOPIC or mqtts://… is expected")
    if not name or "+" in name or "#" in name or "#" in url:
        raise ValueError("a topic without + and # is expected behind the host")
    port = parts.port or PORTS[parts.scheme]
    return Topic(parts.hostname, port, name, parts.scheme == "mqtts")


class Mqtt(Sink):
    """Publishes each entry as JSON, with quality of service 1: the broker confirms it.

    While the broker is away `WAITING` messages are kept; what it did not confirm is told at the
    end. ``environment`` may hold MQTT_USERNAME and MQTT_PASSWORD. Raises Stopped where the broker
    cannot be reached within ``timeout_s``, or refuses us.
    """

    def __init__(
        self,
        topic: Topic,
        report: Report,
        timeout_s: float,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._topic, self._report = topic, report
        self._changed = Condition()  # the library calls back from a thread of its own
        self._greeting: str | None = None  # empty: welcome; or why not
        self._sent = self._queued = self._confirmed = 0
        self._client = client_of(topic, environment)
        self._client.connect_timeout = timeout_s
        self._client.on_connect = self._connected
        self._client.on_publish = self._published
        self._connect(timeout_s)

    @override
    def add(self, entry: Entry) -> None:
        self._sent += 1
        data = json.dumps(entry.payload, separators=(",", ":"))
        self._queued += self._client.publish(self._topic.name, data, qos=1).rc != QUEUE_FULL

    @override
    def close(self) -> None:
        """Wait a little for the broker, then say how much it did not confirm."""
        with self._changed:
            self._changed.wait_for(lambda: self._confirmed == self._queued, LAST_WAIT_S)
        self._client.disconnect()
        self._client.loop_stop()
        missing = self._sent - self._confirmed
        if missing:
            self._report.failed(
                str(self._topic), f"{missing} of {self._sent} results did not reach the broker"
            )

    def _connect(self, timeout_s: float) -> None:
        try:
            self._client.connect(self._topic.host, self._topic.port, KEEPALIVE_S)
        except OSError as error:
            raise Stopped(f"{self._topic}: the broker cannot be reached: {error}", 1) from error
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._greeting is not None, timeout_s)
            greeting = self._greeting
        if greeting != "":
            self._client.loop_stop()
            if greeting is None:
                raise Stopped(f"{self._topic}: no answer within {timeout_s:g} s", 1)
            raise Stopped(f"{self._topic}: {greeting} (MQTT_USERNAME, MQTT_PASSWORD)", 2)

    def _connected(
        self, _client: Any, _data: Any, _flags: Any, reason: "ReasonCode", _properties: Any
    ) -> None:
        with self._changed:
            self._greeting = f"{reason}" if reason.is_failure else ""
            self._changed.notify_all()

    def _published(
        self, _client: Any, _data: Any, _mid: int, reason: "ReasonCode", _properties: Any
    ) -> None:
        with self._changed:
            self._confirmed += not reason.is_failure
            self._changed.notify_all()


def client_of(topic: Topic, environment: Mapping[str, str]) -> "Client":
    """A client for a topic's broker, not connected yet."""
    with needs("mqtt"):
        from paho.mqtt.client import Client  # noqa: PLC0415
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

    client = Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(WAITING)
    client.reconnect_delay_set(*RECONNECT_S)
    if topic.tls:
        client.tls_set()
    if "MQTT_USERNAME" in environment:
        client.username_pw_set(environment["MQTT_USERNAME"], environment.get("MQTT_PASSWORD"))
    return client

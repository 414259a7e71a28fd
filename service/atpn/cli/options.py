"""What the commands' options are called, and what is made of them."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from atpn.cli.backends import Backend, local, remote
from atpn.cli.camera import Camera
from atpn.cli.inputs import file_of
from atpn.cli.mqtt import Mqtt, topic
from atpn.cli.output import Csv, JsonLines, Sink, ToFile
from atpn.cli.plot import Plot
from atpn.cli.recording import Drawings, Recording
from atpn.cli.report import Report
from atpn.cli.sources import Source
from atpn.cli.tables import FaceTable, TrackTable
from atpn.cli.video import Sequence as Frames
from atpn.client.requests import Endpoint, Wanted

Images = Annotated[
    list[str], typer.Argument(help="image files, folders, patterns, or - for standard input")
]
Videos = Annotated[
    list[str],
    typer.Argument(
        help="videos, folders, patterns, or - for standard input; a camera: rtsp://, http://, "
        "/dev/video0 or 0"
    ),
]
Url = Annotated[
    str | None, typer.Option(help="of a running service; without it the work is done here")
]
Key = Annotated[str | None, typer.Option(help="API key of the service")]
Timeout = Annotated[float, typer.Option(min=0.1, max=300, help="seconds to wait for an answer")]
Silence = Annotated[
    float,
    typer.Option("--timeout", min=0.1, max=300, help="seconds to wait for an answer or a frame"),
]
Reconnect = Annotated[
    int, typer.Option(min=0, help="tries in a row to find a camera again that went away")
]
Results = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False, help="file of results, written anew: .csv, or .jsonl with an object a line"
    ),
]
ToMqtt = Annotated[
    str | None,
    typer.Option(
        "--mqtt",
        metavar="URL",
        help="results as messages, too: mqtt://HOST:PORT/TOPIC, or mqtts:// by TLS; "
        "MQTT_USERNAME and MQTT_PASSWORD are read from the environment",
    ),
]
Points = Annotated[int, typer.Option(help="landmarks of each face: 98, 68 or 5")]
MaxFaces = Annotated[int | None, typer.Option(min=1, help="most faces")]
MinConfidence = Annotated[
    float | None, typer.Option(min=0, max=1, help="leave out faces of a lower confidence")
]
WithSignals = Annotated[
    bool, typer.Option("--signals", help="also how open eyes and mouth are, smile, brows, pupils")
]
Best = Annotated[
    bool, typer.Option("--best", help="look at each face four times, at four times the cost")
]
AsJson = Annotated[bool, typer.Option("--json", help="a JSON object a line")]
AsCsv = Annotated[bool, typer.Option("--csv", help="comma-separated, a row a face")]
Draw = Annotated[Path | None, typer.Option(file_okay=False, help="folder for annotated images")]


def quality_of(best: bool) -> str:
    """As the service calls it."""
    return "best" if best else "normal"


def check_none(given: Sequence[str]) -> None:
    """Usage error for what is given to a command that reads environment variables only."""
    if given:
        option = given[0].partition("=")[0]
        name = option.lstrip("-").replace("-", "_").upper() if option.startswith("--") else "…"
        raise typer.BadParameter(f"{option}: settings are environment variables: set ATPN_{name}")


def check_points(points: int) -> None:
    """Usage error for a number of landmarks that is not offered."""
    if points not in {98, 68, 5}:
        raise typer.BadParameter(f"--points: 98, 68 or 5 is expected, not {points}")


def check_sources(found: Sequence[Source], one_alone: bool, to_the_end: bool) -> None:
    """Usage error where one alone can be had, or one that does not end comes before another."""
    if len(found) > 1 and one_alone:
        raise typer.BadParameter(f"{len(found)} videos: --out and --plot are made of one")
    for source in found[:-1]:
        if to_the_end and isinstance(source, Camera) and source.endless:
            raise typer.BadParameter(f"{source.name} does not end: give it last, or --frames")


def check_outputs(inputs: Sequence[Source], *outputs: Path | None) -> None:
    """Usage error where a file that is to be written is read from, too."""
    names = [
        path
        for source in inputs
        for path in (source.files if isinstance(source, Frames) else [Path(source.name)])
    ]
    read = [found for path in names if (found := file_of(path))]
    for path in (output for output in outputs if output is not None):
        if file_of(path) in read:
            raise typer.BadParameter(f"{path.name} is read from: write to another file")


def chosen(as_json: bool, as_csv: bool, wanted: Wanted, frames: bool, landmarks: bool) -> Sink:
    """The sink that the options ask for."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: choose one")
    if as_json:
        return JsonLines(sys.stdout)
    if as_csv:
        return Csv(sys.stdout, wanted, frames, landmarks)
    return TrackTable(wanted) if frames else FaceTable(wanted)


def results_file(path: Path, wanted: Wanted) -> Sink:
    """The results of frames in a file, by the ending of its name."""
    try:
        if path.suffix == ".csv":
            return ToFile(path, lambda file: Csv(file, wanted, frames=True))
        if path.suffix in {".jsonl", ".ndjson"}:
            return ToFile(path, JsonLines)
    except OSError as error:
        raise typer.BadParameter(f"--results: {error}") from error
    raise typer.BadParameter(f"--results: a name that ends in .csv or .jsonl, not {path}")


def broker(url: str, report: Report, timeout_s: float) -> Sink:
    """The results of frames as messages."""
    try:
        where = topic(url)
    except ValueError as error:
        raise typer.BadParameter(f"--mqtt: {error}") from error
    return Mqtt(where, report, timeout_s)


def recording(path: Path) -> Recording:
    """The annotated video; usage error for a path or format that cannot be written."""
    try:
        return Recording(path)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(f"--out: {error}") from error


def diagram(path: Path, signals: bool) -> Plot:
    """The diagram of poses and signals; usage error for a path or format that cannot be written."""
    try:
        return Plot(path, signals)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(f"--plot: {error}") from error


def drawings(folder: Path, inputs: Sequence[str]) -> Drawings:
    """The annotated images; usage error for a folder that cannot be written into."""
    try:
        return Drawings(folder, inputs)
    except OSError as error:
        raise typer.BadParameter(f"--draw: {error}") from error


def backend_of(
    url: str | None, key: str | None, timeout_s: float
) -> AbstractContextManager[Backend]:
    """The service at ``url``, or this process."""
    if url is None:
        if key is not None:
            raise typer.BadParameter("--key is for a service: give its --url")
        return local()
    check_service(url, key)
    return remote(url, key, timeout_s)


def check_service(url: str, key: str | None) -> None:
    """Usage error for what is no address of a service, or can be no key of one."""
    try:
        Endpoint(url, key)
    except ValueError as error:
        raise typer.BadParameter(f"--{error}") from error

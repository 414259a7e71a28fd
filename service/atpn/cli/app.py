"""The commands: what they are called, what they take, and in which order things happen."""

import asyncio
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from atpn import __version__, hangups
from atpn.cli.backends import Backend
from atpn.cli.bench import measure
from atpn.cli.camera import Patience, shown
from atpn.cli.inputs import Unreadable, image_files
from atpn.cli.options import (
    AsCsv,
    AsJson,
    Best,
    Draw,
    Images,
    Key,
    MaxFaces,
    MinConfidence,
    Points,
    Reconnect,
    Results,
    Silence,
    Timeout,
    ToMqtt,
    Url,
    Videos,
    WithSignals,
    backend_of,
    broker,
    check_none,
    check_outputs,
    check_points,
    check_service,
    check_sources,
    chosen,
    diagram,
    drawings,
    quality_of,
    recording,
    results_file,
)
from atpn.cli.output import Sink, screen, writing
from atpn.cli.report import Report, Stopped, until_terminated
from atpn.cli.sources import sources
from atpn.cli.work import Smoothed, WithoutLandmarks, follow_all, look_at_all
from atpn.client import ClientError
from atpn.client.protocol import Follow
from atpn.client.requests import Wanted
from atpn.errors import ConfigurationError
from atpn.extras import MissingExtra, needs

T = TypeVar("T")

INTERRUPTED = 130

app = typer.Typer(
    name="atpn",
    help="Face landmarks, head pose and face tracking.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: all done; 1: some inputs failed, the others are done; 2: wrong usage or configuration;
    130: interrupted; 129, 143: by SIGHUP, SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text
    code = carried_out(arguments)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError as error:  # a closed terminal or pipe, a full disk
            let_go(stream)
            if not code and not isinstance(error, BrokenPipeError):
                told(f"standard output cannot be written: {error.strerror}", 1)
            code = code or 1
    return code


def run() -> None:
    """The console script. An interrupt ends it although threads are still in work."""
    code = main()
    if code == INTERRUPTED:
        os._exit(code)  # the interpreter would wait for them
    sys.exit(code)


def carried_out(arguments: Sequence[str] | None) -> int:
    """Run the command and say why it failed; the exit code."""
    try:
        app(arguments, prog_name="atpn")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except (ConfigurationError, MissingExtra) as error:
        return told(str(error), 2)
    except Stopped as error:
        return told(str(error), error.code)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def let_go(stream: TextIO) -> None:
    """Give up what it did not take: the interpreter would try again, and exit with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def told(message: str, code: int) -> int:
    """Say why on standard error; returns ``code``."""
    with suppress(OSError):  # the terminal was closed
        print(f"atpn: {message}", file=sys.stderr)  # noqa: T201
    return code


def show_version(wanted: bool) -> None:
    """``--version``."""
    if wanted:
        print(f"atpn {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="and exit")
    ] = False,
) -> None:
    """Face landmarks, head pose and face tracking."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def serve(context: typer.Context) -> None:
    """Run the service (settings: environment variables, prefix ATPN_)."""
    with hangups.kept():
        with needs("cpu"):
            import onnxruntime  # noqa: F401, PLC0415 - first, for it tells cpu from video

            from atpn.settings import load_settings  # noqa: PLC0415
            from atpn.workers import serve as run  # noqa: PLC0415

        check_none(context.args)

        raise typer.Exit(run(load_settings()))


@app.command()
def align(
    images: Images,
    points: Points = 98,
    pose: Annotated[bool, typer.Option("--pose", help="also the head pose")] = False,
    signals: WithSignals = False,
    max_faces: MaxFaces = None,
    min_confidence: MinConfidence = None,
    best: Best = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    draw: Draw = None,
    url: Url = None,
    key: Key = None,
    timeout: Timeout = 15,
) -> None:
    """Find the faces of images and their landmarks."""
    check_points(points)
    quality = quality_of(best)
    wanted = Wanted(points, pose, max_faces, min_confidence, None, signals, quality)
    sink = chosen(as_json, as_csv, wanted, frames=False, landmarks=True)
    look(images, wanted, sink, draw, backend_of(url, key, timeout))


@app.command()
def pose(
    images: Images,
    signals: WithSignals = False,
    max_faces: MaxFaces = None,
    min_confidence: MinConfidence = None,
    best: Best = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    draw: Draw = None,
    url: Url = None,
    key: Key = None,
    timeout: Timeout = 15,
) -> None:
    """Find the faces of images and where they look: yaw, pitch and roll in degrees."""
    quality = quality_of(best)
    wanted = Wanted(98, True, max_faces, min_confidence, None, signals, quality)
    sink = WithoutLandmarks(chosen(as_json, as_csv, wanted, frames=False, landmarks=False))
    look(images, wanted, sink, draw, backend_of(url, key, timeout))


@app.command()
def track(
    videos: Videos,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="annotated video")] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="diagram over time (PNG, PDF, SVG)")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="at most so many of each")] = None,
    points: Points = 98,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="landmarks with their jitter filtered out")
    ] = False,
    signals: Annotated[
        bool, typer.Option("--signals", help="also eyes, mouth, smile, brows, pupils, and blinks")
    ] = False,
    max_faces: MaxFaces = None,
    min_confidence: MinConfidence = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    results: Results = None,
    mqtt: ToMqtt = None,
    reconnect: Reconnect = 5,
    url: Url = None,
    key: Key = None,
    timeout: Silence = 15,
) -> None:
    """Follow the faces of videos or of a camera; each face keeps its number."""
    check_points(points)
    report, wanted = Report(), Wanted(points, True, signals=signals)
    find = partial(sources, patience=Patience(timeout, reconnect, report.say))
    found = [source for one in videos for source in named(find, one, report)]
    check_outputs(found, out, plot, results)
    check_sources(found, one_alone=bool(out or plot), to_the_end=frames is None)
    sinks = [chosen(as_json, as_csv, wanted, frames=True, landmarks=True)]
    opening = backend_of(url, key, timeout)
    if found:
        sinks += [diagram(plot, signals)] if plot else []
        sinks += [recording(out)] if out else []
        sinks += [results_file(results, wanted)] if results else []
        sinks += [broker(mqtt, report, timeout)] if mqtt else []
        follow = Follow(points, True, max_faces, min_confidence, signals=signals)
        sinks = [Smoothed(sinks)] if smooth else sinks
        with until_terminated():
            follow_all(opening, found, follow, frames, sinks, report)
    raise typer.Exit(report.exit_code)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models: which can be served as ATPN_MODEL, and the detector."""
    with needs("cpu"):
        import onnxruntime  # noqa: F401, PLC0415

        from atpn.engine.inference import find_model, shipped_models  # noqa: PLC0415
        from atpn.loading import DETECTOR  # noqa: PLC0415
        from atpn.settings import load_settings  # noqa: PLC0415

    folder = load_settings().model_dir or shipped_models()
    if not folder.is_dir():
        raise ConfigurationError(f"ATPN_MODEL_DIR: there is no folder {folder}")
    table = Table("model", "version", "use", "file")
    for root in sorted(p for p in folder.iterdir() if p.is_dir()):
        for version in sorted((p.name for p in root.iterdir() if p.name.isdigit()), key=int):
            model = find_model(folder, root.name, version)
            use = "detector" if model.name == DETECTOR else "face model"
            row = {"name": model.name, "version": model.version, "use": use}
            row["path"] = str(model.path)
            if as_json:
                with writing(sys.stdout):
                    print(json.dumps(row))  # noqa: T201
            table.add_row(*map(Text, row.values()))
    if not as_json:
        with writing(sys.stdout):
            screen().print(table)


@app.command()
def bench(
    url: Annotated[str, typer.Option(help="of the running service")],
    key: Key = None,
    clients: Annotated[int, typer.Option(min=1, max=256, help="that send at once")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, max=600)] = 5,
    image: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="to send; without it a made-up 640x480 picture with one given box",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a service's requests per second and latency."""
    check_service(url, key)
    data = None if image is None else image.read_bytes()
    try:
        tally = asyncio.run(measure(url, key, data, clients, seconds))
    except (ClientError, ValueError) as error:
        Report().failed(url, error)
        raise typer.Exit(1) from error
    if as_json:
        with writing(sys.stdout):
            print(json.dumps(tally.figures))  # noqa: T201
    else:
        table = Table("figure", "value", title=f"{clients} clients, {tally.seconds:.1f} s")
        for name, value in tally.figures.items():
            table.add_row(name.replace("_per_s", "/s").replace("_ms", " ms"), f"{value or 0}")
        with writing(sys.stdout):
            screen().print(table)
    raise typer.Exit(1 if tally.errors or not tally.latencies_ms else 0)


def named(find: Callable[[str], list[T]], argument: str, report: Report) -> list[T]:
    """What an argument names; where that is nothing, it is reported."""
    try:
        return find(argument)
    except Unreadable as error:
        report.failed(shown(argument) if "://" in argument else argument, error)
        return []


def look(
    images: list[str],
    wanted: Wanted,
    sink: Sink,
    draw: Path | None,
    opening: AbstractContextManager[Backend],
) -> None:
    """What align and pose do with their images; ends the command with its exit code."""
    report = Report()
    files = [file for one in images for file in named(image_files, one, report)]
    if files:
        sinks = [sink, drawings(draw, [file.name for file in files])] if draw else [sink]
        look_at_all(opening, files, wanted, sinks, report)
    raise typer.Exit(report.exit_code)

"""What the commands' options are called, and what is made of them."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from atpn.cli.backends import Backend, local, remote
from atpn.cli.output import Csv, FaceTable, JsonLines, Sink, TrackTable
from atpn.client.requests import Wanted

Images = Annotated[
    list[str], typer.Argument(help="image files, folders, patterns, or - for standard input")
]
Videos = Annotated[
    list[str],
    typer.Argument(help="videos, folders, patterns, a camera's number, or - for standard input"),
]
Url = Annotated[
    str | None, typer.Option(help="of a running service; without it the work is done here")
]
Key = Annotated[str | None, typer.Option(help="API key of the service")]
Timeout = Annotated[float, typer.Option(min=0.1, max=300, help="seconds to wait for an answer")]
Points = Annotated[int, typer.Option(help="landmarks of each face: 98, 68 or 5")]
MaxFaces = Annotated[int | None, typer.Option(min=1, help="most faces")]
MinConfidence = Annotated[
    float | None, typer.Option(min=0, max=1, help="leave out faces of a lower confidence")
]
AsJson = Annotated[bool, typer.Option("--json", help="a JSON object a line")]
AsCsv = Annotated[bool, typer.Option("--csv", help="comma-separated, a row a face")]
Draw = Annotated[Path | None, typer.Option(file_okay=False, help="folder for annotated images")]


def check_points(points: int) -> None:
    """Usage error for a number of landmarks that is not offered."""
    if points not in {98, 68, 5}:
        raise typer.BadParameter(f"--points: 98, 68 or 5 is expected, not {points}")


def chosen(as_json: bool, as_csv: bool, wanted: Wanted, frames: bool, landmarks: bool) -> Sink:
    """The sink that the options ask for."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv: choose one")
    if as_json:
        return JsonLines()
    if as_csv:
        return Csv(wanted, frames, landmarks)
    return TrackTable(wanted.pose) if frames else FaceTable(wanted.pose)


def backend_of(
    url: str | None, key: str | None, timeout_s: float
) -> AbstractContextManager[Backend]:
    """The service at ``url``, or this process."""
    if url is None:
        if key is not None:
            raise typer.BadParameter("--key is for a service: give its --url")
        return local()
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--url: http:// or https:// is expected, not {url!r}")
    return remote(url, key, timeout_s)

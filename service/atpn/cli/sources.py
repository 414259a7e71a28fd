"""The streams of frames that an argument of `track` names."""

from pathlib import Path

from atpn.cli.camera import Camera, Patience, camera
from atpn.cli.inputs import IMAGES, VIDEOS, Unreadable, of_kind, paths
from atpn.cli.video import Sequence, VideoFile

Source = VideoFile | Sequence | Camera


def sources(argument: str, patience: Patience) -> list[Source]:
    """The streams that an argument names; Unreadable where there is none.

    A URL, a device or a number is a camera, a folder of images is one stream, every video is one
    of its own.
    """
    path = Path(argument)
    live = None if path.is_file() or path.is_dir() else camera(argument, patience)
    if live is not None:
        return [live]
    if path.is_dir():
        images = of_kind(path.iterdir(), IMAGES)
        if images:
            return [Sequence(argument, images)]
    try:
        return [VideoFile(str(found)) for found in paths(argument, VIDEOS)]
    except Unreadable as error:
        if path.is_dir():
            raise Unreadable("neither images nor videos are in it") from error
        raise

"""The streams of frames that an argument of `track` names."""

from pathlib import Path

from atpn.cli.camera import Camera, Patience, camera
from atpn.cli.inputs import IMAGES, VIDEOS, Unreadable, inside, is_there, of_kind, paths
from atpn.cli.video import Sequence, VideoFile

Source = VideoFile | Sequence | Camera


def sources(argument: str, patience: Patience) -> list[Source]:
    """The streams that an argument names; Unreadable where there is none.

    A URL, a device or a number is a camera, a folder of images is one stream, every video is one
    of its own.
    """
    path = Path(argument)
    folder = is_there(path, Path.is_dir)
    here = folder or is_there(path, Path.is_file)
    live = None if here else camera(argument, patience)
    if live is not None:
        return [live]
    if folder:
        images = of_kind(inside(path), IMAGES)
        if images:
            return [Sequence(argument, images)]
    try:
        return [VideoFile(str(found)) for found in paths(argument, VIDEOS)]
    except Unreadable as error:
        if folder:
            raise Unreadable("neither images nor videos are in it") from error
        raise

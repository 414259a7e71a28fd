"""BentoML: two workers that each do it all."""

from pathlib import Path
from typing import Annotated

import bentoml
from pydantic import Field

from loadtests.peers.face import Network


@bentoml.service(workers=2, traffic={"timeout": 60})
class Align:
    """A form of a JPEG and its box."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api
    def align(
        self,
        image: Annotated[Path, bentoml.validators.ContentType("image/jpeg")],
        box: Annotated[list[float], Field(min_length=4, max_length=4)],
    ) -> Annotated[bytes, bentoml.validators.ContentType("application/json")]:
        """The face's JSON."""
        x0, y0, x1, y1 = box
        return self.network.face(image.read_bytes(), (x0, y0, x1, y1))

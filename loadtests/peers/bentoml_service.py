"""BentoML: two workers, each with two threads, that each do it all."""

from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from loadtests.peers.face import Network, box_of


@bentoml.service(workers=2, threads=2)
class Align:
    """The JPEG is the body, its box ``?box=x0,y0,x1,y1``."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api
    def align(
        self, image: Annotated[bytes, ContentType("image/jpeg")], /, ctx: bentoml.Context
    ) -> Annotated[bytes, ContentType("application/json")]:
        """The face's JSON."""
        return self.network.face(image, box_of(ctx.request.query_params["box"]))

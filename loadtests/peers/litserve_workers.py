"""LitServe: two workers, batches of up to eight."""

import struct
import sys
from typing import Annotated, Any

import litserve as ls
import numpy as np
from fastapi import Body, Response
from numpy.typing import NDArray

from loadtests.peers.face import PACKED_BOX, Network, Region, as_json, crop, decoded, region

BOX_BYTES = struct.calcsize(PACKED_BOX)
Input = tuple[Region, NDArray[np.uint8]]


class Align(ls.LitAPI):
    """Decode and cut each request, run the network on all together."""

    def setup(self, device: str) -> None:
        """Once a worker."""
        del device
        self.network = Network()

    def decode_request(
        self, request: Annotated[bytes, Body(media_type="application/octet-stream")]
    ) -> Input:
        """A worker sees the body only, so the box stands before the JPEG."""
        x0, y0, x1, y1 = struct.unpack_from(PACKED_BOX, request)
        where = region((x0, y0, x1, y1))
        return where, crop(decoded(request[BOX_BYTES:]), where)

    def batch(self, inputs: list[Input]) -> tuple[list[Region], NDArray[np.uint8]]:
        """Regions and (N, 112, 112, 3)."""
        return [where for where, _ in inputs], np.stack([face for _, face in inputs])

    def predict(self, inputs: tuple[list[Region], NDArray[np.uint8]]) -> list[tuple[Any, ...]]:
        """One (region, landmarks, pose, confidence) a request."""
        regions, crops = inputs
        return list(zip(regions, *self.network.run(crops), strict=True))

    def unbatch(self, output: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """They are apart already."""
        return output

    def encode_response(self, output: tuple[Any, ...]) -> Response:
        """The face's JSON."""
        return Response(as_json(*output), media_type="application/json")


if __name__ == "__main__":
    server = ls.LitServer(
        Align(max_batch_size=8), accelerator="cpu", workers_per_device=2, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )

"""mosec: a Rust front and two worker processes that each do it all."""

import struct

from mosec import Server, Worker

from loadtests.peers.face import PACKED_BOX, Box, Network

BOX_BYTES = struct.calcsize(PACKED_BOX)


class Align(Worker):
    """A worker sees the body only, so the box stands before the JPEG."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()

    def deserialize(self, data: bytes) -> tuple[bytes, Box]:
        """The JPEG and its box."""
        x0, y0, x1, y1 = struct.unpack_from(PACKED_BOX, data)
        return data[BOX_BYTES:], (x0, y0, x1, y1)

    def forward(self, data: tuple[bytes, Box]) -> bytes:
        """The face's JSON."""
        return self.network.face(*data)

    def serialize(self, data: bytes) -> bytes:
        """It is JSON already."""
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Align, num=2)
    server.run()

"""pytriton: Triton Inference Server, two Python instances, batches of up to eight."""

import sys

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from loadtests.peers.face import Network, as_json, crop, decoded, region


class Align:
    """One instance: JPEGs (N, 1) and boxes (N, 4) in, JSON (N, 1) out."""

    def __init__(self) -> None:
        self.network = Network()

    @batch
    def __call__(
        self, image: NDArray[np.bytes_], box: NDArray[np.float32]
    ) -> list[NDArray[np.object_]]:
        """The faces' JSON."""
        regions = [region((x0, y0, x1, y1)) for x0, y0, x1, y1 in box.tolist()]
        pictures = [decoded(bytes(data)) for (data,) in image]
        crops = [crop(*each) for each in zip(pictures, regions, strict=True)]
        answers = zip(regions, *self.network.run(np.stack(crops)), strict=True)
        return [np.array([[as_json(*each)] for each in answers], object)]


def main() -> None:
    """Serve on the given port."""
    port = int(sys.argv[1])
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="align",
            infer_func=[Align(), Align()],
            inputs=[
                Tensor(name="image", dtype=bytes, shape=(1,)),
                Tensor(name="box", dtype=np.float32, shape=(4,)),
            ],
            outputs=[Tensor(name="json", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=8, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()

"""Triton with the face network, by PyTriton, whose own interpreter runs this program:
``triton_server.py MODEL.onnx PORT``.
"""

import sys

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

OUTPUTS = {"landmarks": (98, 2), "pose": (3,), "confidence": (1,)}


def serve(path: str, port: int) -> None:
    """Listen on the loopback interface until told to end."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])

    @batch  # type: ignore[untyped-decorator]
    def run(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        arrays = session.run(list(OUTPUTS), {"image": image})
        return {
            name: array.reshape(len(image), *shape)
            for (name, shape), array in zip(OUTPUTS.items(), arrays, strict=True)
        }

    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="atpn",
            infer_func=run,
            inputs=[Tensor(name="image", dtype=np.uint8, shape=(112, 112, 3))],
            outputs=[
                Tensor(name=name, dtype=np.float32, shape=shape) for name, shape in OUTPUTS.items()
            ],
            config=ModelConfig(max_batch_size=16),
        )
        triton.serve()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

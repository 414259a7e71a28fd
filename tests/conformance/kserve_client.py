"""Asks a server under /v2 by KServe's client, whose own interpreter runs this program:
``kserve_client.py URL numbers|bytes CROPS.npy ANSWER.npz``.
"""

import asyncio
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def ask(url: str, form: str, crops_file: str, answer_file: str) -> None:
    """Check liveness and readiness, infer, and write the outputs by name."""
    crops = np.load(crops_file)
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    if not await client.is_server_live(url) or not await client.is_server_ready(url):
        sys.exit("the server is not ready")
    if not await client.is_model_ready(url, "atpn"):
        sys.exit("the model is not ready")
    image = InferInput("image", list(crops.shape), "UINT8")
    image.set_data_from_numpy(crops, binary_data=form == "bytes")
    parameters = {"binary_data_output": True} if form == "bytes" else None
    request = InferRequest("atpn", [image], parameters=parameters)
    answer = await client.infer(url, request, model_name="atpn")
    np.savez(answer_file, **{output.name: output.as_numpy() for output in answer.outputs})
    await client.close()


if __name__ == "__main__":
    asyncio.run(ask(*sys.argv[1:]))

"""The image for GPUs, as far as it can be built here.

`CUDA_IMAGE=…` builds it on another base image than the Dockerfile's.
"""

import os

import pytest

from tests.engine import docker

pytestmark = pytest.mark.engine


def test_the_gpu_image_is_built_and_does_not_start_without_a_gpu(engine: str) -> None:
    docker.build("wheel", "atpn:wheel")
    print(f"engine {engine} built the wheel; next is CUDA's base image")  # noqa: T201
    given = {name: os.environ[name] for name in ("CUDA_IMAGE",) if name in os.environ}
    try:
        docker.build("gpu", "atpn:gpu", **given)
    except docker.ImageMissing as missing:
        pytest.skip(f"built up to CUDA's base image: {missing} is not here and cannot be pulled")
    with pytest.raises(docker.DockerError, match=r"CUDAExecutionProvider|cuda"):
        docker.docker("run", "--rm", "--network", "none", "--read-only", "atpn:gpu")

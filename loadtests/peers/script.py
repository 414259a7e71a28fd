"""The script that a service has to beat: FastAPI, a pool of two threads, one run a request."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import uvicorn
from fastapi import FastAPI, Request, Response

from loadtests.peers.face import Network, box_of, decoded
from loadtests.peers.finder import Finder

app = FastAPI()
network = Network()
finder = Finder()
pool = ThreadPoolExecutor(2)


def found_face(data: bytes) -> bytes:
    """The JSON of the face that the detector is surest of."""
    image = decoded(data)
    return network.answer(image, finder.box(image))


@app.post("/align")
async def align(request: Request) -> Response:
    """The JPEG is the body, its box ``?box=x0,y0,x1,y1``; without it the detector looks."""
    data = await request.body()
    box = request.query_params.get("box")
    work = partial(network.face, data, box_of(box)) if box else partial(found_face, data)
    answer = await asyncio.get_running_loop().run_in_executor(pool, work)
    return Response(answer, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)

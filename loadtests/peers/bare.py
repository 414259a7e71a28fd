"""The parts alone: ``python -m loadtests.peers.bare SECONDS < JPEG`` prints their medians."""

import json
import statistics
import sys
import time
from collections.abc import Callable

from loadtests.peers.face import Network, crop, decoded


def median_ms(seconds: float, work: Callable[[], object]) -> float:
    """Median milliseconds of one ``work``."""
    times = []
    started = now = time.perf_counter()
    while now - started < seconds:
        before = now
        work()
        now = time.perf_counter()
        times.append(now - before)
    return 1000 * statistics.median(times)


def main() -> None:
    """Decoding, and one run of the network on one thread."""
    seconds, data = float(sys.argv[1]), sys.stdin.buffer.read()
    network = Network()
    crops = crop(decoded(data), (205.0, 130.0, 140.0))[None]
    print(
        json.dumps(
            {
                "decode_ms": median_ms(seconds / 2, lambda: decoded(data)),
                "network_ms": median_ms(seconds / 2, lambda: network.run(crops)),
            }
        )
    )


if __name__ == "__main__":
    main()

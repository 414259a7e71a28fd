"""A camera of the network on loopback that speaks RTSP, with RTP in the same connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from socketserver import StreamRequestHandler, ThreadingTCPServer

import av

from atpn.geometry import Image

RATE = 20
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "a=range:npt=now-\r\nm=video 0 RTP/AVP 26\r\na=control:video\r\n"  # 26: JPEG, RFC 2435
)


def packets(frames: list[Image], over: threading.Event) -> Iterator[bytes]:
    """The frames by the clock as RTP packets, which FFmpeg makes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(("127.0.0.1", 0))
        heard.settimeout(0.05)
        address = f"rtp://127.0.0.1:{heard.getsockname()[1]}?pkt_size=1200"
        with av.open(address, "w", format="rtp") as container:
            stream = container.add_stream("mjpeg", rate=RATE)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p"
            for index, image in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, RATE)
                container.mux(stream.encode(frame))
                with suppress(TimeoutError):
                    while True:
                        yield heard.recv(2000)
                if over.wait(1 / RATE):
                    return


@contextmanager
def camera(frames: list[Image]) -> Iterator[str]:
    """The address of a camera that shows these frames to whoever plays it, then hangs up."""
    over = threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while request := self._request():
                    self._answer(*request)
                    if request[0] == "PLAY":
                        for packet in packets(frames, over):
                            head = b"$\0" + len(packet).to_bytes(2, "big")
                            self.wfile.write(head + packet)
                        return

        def _request(self) -> tuple[str, str] | None:
            lines = []
            while line := self.rfile.readline().decode().strip():
                lines.append(line)
            number = [line.split()[1] for line in lines if line.startswith("CSeq:")]
            return (lines[0].split()[0], number[0]) if number else None

        def _answer(self, method: str, number: str) -> None:
            fields, body = [f"CSeq: {number}", "Session: 1"], ""
            if method == "OPTIONS":
                fields.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
            if method == "SETUP":
                fields.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            if method == "DESCRIBE":
                body = SDP
                fields += ["Content-Type: application/sdp", f"Content-Length: {len(SDP)}"]
            self.wfile.write("\r\n".join(["RTSP/1.0 200 OK", *fields, "", body]).encode())

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), name="rtsp").start()
        try:
            yield f"rtsp://127.0.0.1:{server.server_address[1]}/live"
        finally:
            over.set()
            server.shutdown()

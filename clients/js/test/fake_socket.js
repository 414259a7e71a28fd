// A WebSocket without a network, whose other end is the test.

export class FakeSocket {
  static opened = [];

  constructor(url, protocols) {
    this.url = new URL(url);
    this.protocols = protocols;
    this.sent = [];
    this.closed = false;
    FakeSocket.opened.push(this);
  }

  send(data) {
    this.sent.push(typeof data === "string" ? JSON.parse(data) : data);
  }

  close() {
    this.closed = true;
  }

  // What the service says.
  says(message) {
    this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }

  greets(fields = {}) {
    const limits = { max_frame_bytes: 1000, max_pixels: 1e6, max_faces: 5, session_ttl_s: 60, stream_idle_s: 60 };
    this.says({ type: "session", token: "a+b", state: "new", seq: 0, limits, ...fields });
  }

  answers(seq, dropped = 0) {
    this.says({ type: "frame", seq, dropped, state: "tracked", faces: [] });
  }

  breaks(code = 1006) {
    this.onclose({ code });
  }
}

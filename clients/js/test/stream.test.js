// A stream's decisions, with the test as the service and its clock.

import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";

import { Client } from "atpn";
import { FakeSocket } from "./fake_socket.js";

const frame = (bytes) => new Uint8Array(bytes);
const newest = () => FakeSocket.opened.at(-1);

// A stream and what it told, in order.
function opened(options) {
  const told = [];
  const names = ["opened", "answered", "failed", "away", "ended"];
  const handlers = Object.fromEntries(names.map((name) => [name, (what) => told.push([name, what])]));
  const stream = new Client("http://faces.example/base", { WebSocket: FakeSocket, key: "k?~?" }).stream(handlers, options);
  return { stream, told, of: (name) => told.filter(([kind]) => kind === name).map(([, what]) => what) };
}

beforeEach(() => {
  FakeSocket.opened = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
});

describe("A stream", () => {
  test("offers its key as a subprotocol that is URL-safe", () => {
    opened();
    assert.equal(newest().url.href, "ws://faces.example/base/track");
    assert.deepEqual(newest().protocols, ["atpn.v1.json", "atpn.key.az9-Pw"]);
  });

  test("asks for signals beside the pose, which comes unasked", () => {
    const { stream } = opened({ signals: true });
    newest().greets();
    assert.deepEqual(newest().sent, [{ type: "config", include: ["pose", "signals"] }]);
    stream.configure({ pose: false, fps: 30 });
    assert.deepEqual(newest().sent.at(-1), { type: "config", include: ["signals"], fps: 30 });
  });

  test("sends what it is configured to ask, then the frame that waited", () => {
    const { stream } = opened({ pose: false, maxFaces: 2 });
    stream.push(frame(3));
    assert.deepEqual(newest().sent, []);
    newest().greets();
    assert.deepEqual(newest().sent, [{ type: "config", include: [], max_faces: 2 }, frame(3)]);
    stream.configure({ smoothing: true });
    assert.deepEqual(newest().sent.at(-1), { type: "config", include: [], max_faces: 2, smoothing: true });
  });

  test("forgets all faces from the next frame on, over a broken connection too", () => {
    const { stream } = opened({ points: 5 });
    const [config, reset] = [{ type: "config", points: 5 }, { type: "reset" }];
    newest().greets();
    stream.push(frame(1));
    newest().answers(1);
    newest().breaks();
    stream.reset();
    stream.push(frame(2));
    mock.timers.tick(800);
    newest().greets({ state: "resumed" });
    assert.deepEqual(newest().sent, [config, reset, frame(2)]);
    newest().answers(2);
    stream.reset();
    assert.deepEqual(newest().sent.at(-1), reset);
    newest().breaks();
    mock.timers.tick(800);
    newest().greets({ state: "resumed" });
    stream.push(frame(3));
    assert.deepEqual(newest().sent, [config, reset, frame(3)]);
    newest().breaks();
    mock.timers.tick(800);
    newest().greets({ state: "resumed" });
    assert.deepEqual(newest().sent, [config]);
  });

  for (const [name, happen] of Object.entries({
    opened: (socket) => socket.greets(),
    answered: (socket) => socket.answers(1),
    failed: (socket) => socket.says({ type: "error", code: "invalid_image", detail: "no image", seq: 1, dropped: 0 }),
  })) {
    test(`sends the frame that waited although the handler \`${name}\` throws`, () => {
      const handlers = { [name]: () => { throw new Error("the caller's own"); } };
      const stream = new Client("http://faces.example", { WebSocket: FakeSocket }).stream(handlers);
      if (name !== "opened") {
        newest().greets();
        stream.push(frame(1));
        stream.push(frame(2));
      }
      stream.push(frame(3));
      assert.throws(() => happen(newest()), /the caller's own/);
      assert.deepEqual(newest().sent.at(-1), frame(3));
    });
  }

  test("keeps two frames under way, and of those that wait the newest", () => {
    const { stream, of } = opened();
    newest().greets();
    for (let size = 1; size <= 5; size += 1) stream.push(frame(size), `frame ${size}`);
    assert.deepEqual(newest().sent.map(({ length }) => length), [1, 2]);
    assert.equal(stream.room, false);
    newest().answers(1);
    assert.deepEqual(newest().sent.map(({ length }) => length), [1, 2, 5]);
    newest().answers(2);
    newest().answers(3);
    assert.deepEqual(of("answered").map((result) => result.frame), ["frame 1", "frame 2", "frame 5"]);
    assert.equal(stream.dropped, 2);
    assert.equal(stream.room, true);
  });

  test("knows which frame is answered when the service dropped one", () => {
    const { stream, of } = opened();
    newest().greets();
    stream.push(frame(1), "first");
    stream.push(frame(2), "second");
    newest().answers(2, 1);
    assert.deepEqual(of("answered").map((result) => result.frame), ["second"]);
    assert.equal(stream.dropped, 1);
  });

  test("tells the error of one frame and goes on", () => {
    const { stream, of } = opened();
    newest().greets();
    stream.push(frame(1), "bad");
    newest().says({ type: "error", code: "invalid_image", detail: "no image", seq: 1, dropped: 0 });
    assert.deepEqual(of("failed").map(({ error, frame: which }) => [error.code, which]), [["invalid_image", "bad"]]);
    stream.push(frame(2));
    assert.equal(newest().sent.length, 2);
  });

  test("does not send a frame that would end the connection by its size", () => {
    const { stream, of } = opened();
    newest().greets();
    stream.push(frame(1001));
    assert.deepEqual(newest().sent, []);
    assert.equal(of("failed")[0].error.code, "too_many_bytes");
  });

  test("comes back with its token, and counts what the connection swallowed", () => {
    const { stream, of } = opened({ points: 5 });
    newest().greets();
    stream.push(frame(1));
    newest().breaks();
    assert.equal(of("away")[0].reason, "lost");
    assert.equal(stream.ready, false);
    assert.equal(stream.dropped, 1);
    mock.timers.tick(800);
    assert.equal(newest().url.searchParams.get("token"), "a+b");
    newest().greets({ state: "resumed" });
    assert.deepEqual(newest().sent, [{ type: "config", points: 5 }]);
    assert.equal(stream.resumes, 1);
  });

  test("waits longer each time until a frame is answered", () => {
    const { stream, of } = opened();
    for (let time = 0; time < 6; time += 1) {
      newest().greets();
      newest().breaks();
      mock.timers.tick(6001);
    }
    const delays = of("away").map(({ delayMs }) => delayMs);
    [50, 100, 200, 400, 800, 1600].forEach((ms, i) => assert.ok(delays[i] <= ms, `${delays}`));
    [0, 50, 100, 200, 400, 800].forEach((ms, i) => assert.ok(delays[i] >= ms, `${delays}`));
    newest().greets();
    stream.push(frame(1));
    newest().answers(1);
    newest().breaks();
    assert.ok(of("away").at(-1).delayMs <= 50);
  });

  test("does not come back at once to a service that refused it", () => {
    const { of } = opened();
    newest().says({ type: "error", code: "too_many_streams", detail: "full" });
    newest().breaks(1013);
    const [{ delayMs }] = of("away");
    assert.ok(50 <= delayMs && delayMs <= 100, `${delayMs}`);
  });

  test("goes to another replica at once when the service restarts", () => {
    const { of } = opened();
    newest().greets();
    newest().says({ type: "closing", reason: "shutting_down", token: "a+b" });
    newest().breaks(1012);
    const [{ reason, delayMs }] = of("away");
    assert.deepEqual([reason, delayMs], ["restart", 0]);
  });

  test("takes silence with a frame under way for a broken connection", () => {
    const { stream, of } = opened();
    newest().greets();
    mock.timers.tick(60000);
    assert.equal(of("away").length, 0);
    stream.push(frame(1));
    mock.timers.tick(15000);
    assert.equal(of("away").length, 1);
    assert.ok(FakeSocket.opened[0].closed);
  });

  test("gives up a connection that does not open", () => {
    const { of } = opened();
    mock.timers.tick(5000);
    assert.equal(of("away")[0].reason, "lost");
  });

  test("that was closed for idleness sleeps until the next frame", () => {
    const { stream, of } = opened();
    newest().greets();
    newest().says({ type: "closing", reason: "idle", token: "a+b" });
    newest().breaks(1001);
    mock.timers.tick(60000);
    assert.equal(FakeSocket.opened.length, 1);
    assert.equal(of("away").length, 0);
    assert.ok(stream.room);
    stream.push(frame(1));
    newest().greets({ state: "resumed" });
    assert.equal(FakeSocket.opened.length, 2);
    assert.deepEqual(newest().sent, [frame(1)]);
  });

  test("that is refused for now tries again and says why", () => {
    const { of } = opened();
    newest().says({ type: "error", code: "too_many_streams", detail: "full" });
    newest().breaks(1013);
    assert.equal(of("away")[0].reason, "refused");
    assert.equal(of("away")[0].error.code, "too_many_streams");
    mock.timers.tick(800);
    assert.equal(FakeSocket.opened.length, 2);
  });

  for (const code of ["unauthorized", "forbidden_origin"]) {
    test(`that is refused as ${code} is over`, () => {
      const { stream, of } = opened();
      newest().says({ type: "error", code, detail: "no" });
      newest().breaks(1008);
      mock.timers.tick(60000);
      assert.deepEqual(of("ended").map((error) => error.code), [code]);
      stream.push(frame(1));
      assert.equal(FakeSocket.opened.length, 1);
    });
  }

  test("ends when what it asked for is wrong, or nobody there speaks its language", () => {
    const wrong = opened({ points: 7 });
    newest().greets();
    newest().says({ type: "error", code: "invalid_request", detail: "points" });
    assert.equal(wrong.of("ended")[0].code, "invalid_request");
    const elsewhere = opened();
    newest().says("hello");
    assert.equal(elsewhere.of("ended")[0].code, "bad_answer");
  });

  test("ends when there was no answer for its patience", (t) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const { stream, of } = opened({ patienceMs: 30000 });
    newest().greets();
    for (const at of [0, 29000, 40000, 69000, 70000]) {
      now = at;
      newest().breaks();
      mock.timers.tick(6001);
      if (at === 29000) { // from the next loss on it has as long again
        newest().greets();
        stream.push(frame(1));
        newest().answers(1);
      } else assert.equal(of("ended").length, Number(at === 70000), `${at}`);
    }
    assert.equal(of("away").length, 4);
    assert.equal(of("ended")[0].code, "connection_failed");
  });

  test("ends when a service only ever greets", (t) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const { stream, of } = opened({ patienceMs: 3000 });
    for (; now < 20000 && !of("ended").length; now += 500) {
      newest().greets();
      now += 40;
      stream.push(frame(1));
      newest().breaks();
      mock.timers.tick(6001);
    }
    assert.equal(of("ended").length, 1);
    assert.ok(now < 5000, `${now}`);
  });

  test("has as long again after it was idle", (t) => {
    let now = 0;
    t.mock.method(performance, "now", () => now);
    const { stream, of } = opened({ patienceMs: 3000 });
    newest().greets();
    newest().breaks();
    mock.timers.tick(6001);
    newest().greets();
    now = 60000;
    stream.push(frame(1));
    newest().breaks();
    assert.equal(of("ended").length, 0);
  });

  test("ends after a few connections where nobody was ever there, unless it is for ever", () => {
    for (const [patienceMs, away, ended] of [[30000, 5, 1], [undefined, 9, 0]]) {
      const { of } = opened({ patienceMs });
      for (let time = 0; time < 9; time += 1) {
        newest().breaks();
        mock.timers.tick(6001);
        if (of("ended").length) break;
      }
      assert.deepEqual([of("away").length, of("ended").length], [away, ended]);
    }
  });

  test("waits for a place as long as for anything", () => {
    const { of } = opened({ patienceMs: 30000 });
    for (let time = 0; time < 9; time += 1) {
      newest().says({ type: "error", code: "too_many_streams", detail: "full" });
      newest().breaks(1013);
      mock.timers.tick(6001);
    }
    assert.equal(of("ended").length, 0);
  });

  test("that was ended says nothing more", () => {
    const { stream, told } = opened();
    const socket = newest();
    socket.greets();
    stream.push(frame(1));
    stream.end();
    assert.ok(socket.closed);
    const before = told.length;
    socket.answers(1);
    socket.breaks();
    stream.cut();
    mock.timers.tick(60000);
    assert.equal(told.length, before);
    assert.equal(FakeSocket.opened.length, 1);
  });
});

describe("track", () => {
  const told = new Client("http://faces.example", { WebSocket: FakeSocket });
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  test("sends again what a broken connection swallowed, and asks for no frame before", async () => {
    let pulled = 0;
    function* frames() {
      for (const size of [1, 2]) {
        pulled += 1;
        yield frame(size);
      }
    }
    const results = told.track(frames());
    const first = results.next();
    await turn();
    newest().greets();
    newest().breaks();
    mock.timers.tick(800);
    newest().greets({ state: "resumed" });
    assert.deepEqual(newest().sent, [frame(1)]);
    newest().answers(1);
    assert.deepEqual((await first).value.frame, frame(1));
    assert.equal(pulled, 1);
    const second = results.next();
    await turn();
    newest().says({ type: "error", code: "invalid_image", detail: "no image", seq: 2, dropped: 0 });
    assert.equal((await second).value.error.code, "invalid_image");
    assert.equal((await results.next()).done, true);
    assert.ok(newest().closed);
  });

  test("throws where the stream is refused, and when its patience ends", async () => {
    const refused = told.track([frame(1)]).next();
    await turn();
    newest().says({ type: "error", code: "unauthorized", detail: "no" });
    await assert.rejects(refused, { name: "AtpnError", code: "unauthorized" });
    const lost = told.track([frame(1)], { patienceMs: 0 }).next();
    await turn();
    newest().breaks();
    await assert.rejects(lost, { code: "connection_failed" });
  });

  test("ends its stream when the caller breaks off", async () => {
    const results = told.track([frame(1), frame(2)]);
    const first = results.next();
    await turn();
    newest().greets();
    newest().answers(1);
    await first;
    await results.return();
    assert.ok(newest().closed);
  });
});

test("A runtime without WebSocket is told what to do", () => {
  const bare = new Client("http://faces.example", { WebSocket: null });
  assert.throws(() => bare.stream({}), /install ws/);
});

test("A key that no header can carry is refused, and not repeated", () => {
  for (const key of ["secret\nkey", " secret", "secr\u00e9t", "secret\u20ac"]) {
    const refused = ({ name, message }) => name === "TypeError" && /^key: ASCII/.test(message) && !message.includes("secr");
    assert.throws(() => new Client("http://faces.example", { key }), refused);
  }
});

test("An address must be one of HTTP", () => {
  assert.throws(() => new Client("ws://faces.example"), /http/);
});

test("One image is no list of images, and what is none is not sent", async () => {
  const client = new Client("http://127.0.0.1:9", { WebSocket: FakeSocket });
  const one = { name: "TypeError", message: /^a list of images is expected, not .*; for a video file see/ };
  for (const single of [frame(3), frame(3).buffer, new Blob([frame(3)]), "talk.mp4", 5, null]) {
    await assert.rejects(client.batch(single), one);
    await assert.rejects(client.track(single).next(), one);
  }
  const none = { name: "TypeError", message: /^an image is a Blob, an ArrayBuffer or a Uint8Array, not/ };
  for (const nothing of ["a.jpg", 5, null, undefined]) {
    await assert.rejects(client.align(nothing), none);
    await assert.rejects(client.pose(nothing), none);
    await assert.rejects(client.batch([nothing]), none);
    await assert.rejects(client.track([nothing]).next(), none);
  }
  assert.equal(FakeSocket.opened.every(({ sent }) => sent.length === 0), true);
});

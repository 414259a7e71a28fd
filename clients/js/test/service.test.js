// Against a real service: ATPN_URL, and a photograph with one face: ATPN_PHOTO.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { before, describe, test } from "node:test";

import { Client } from "atpn";
import { WebSocket } from "ws";

const { ATPN_URL: url, ATPN_PHOTO: path } = process.env;

// A server that answers everything alike.
async function answering(status, body, headers = {}) {
  const server = createServer((request, response) => response.writeHead(status, headers).end(body));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

describe("A client of a running service", { skip: url ? false : "ATPN_URL names no service" }, () => {
  let photo;
  let client;
  before(() => {
    photo = readFileSync(path);
    client = new Client(url, { WebSocket });
  });

  test("finds the face of a photograph, as bytes and as a Blob", async () => {
    const answer = await client.align(photo, { pose: true });
    assert.equal(answer.faces.length, 1);
    assert.equal(answer.faces[0].landmarks.length, 98);
    assert.equal(typeof answer.faces[0].pose.yaw, "number");
    const same = await client.align(new Blob([photo], { type: "image/jpeg" }), { points: 5 });
    assert.equal(same.faces[0].landmarks.length, 5);
    assert.equal(same.faces[0].pose, undefined);
  });

  test("looks where it is told", async () => {
    const { faces } = await client.align(photo, { boxes: [[180, 70, 280, 180], [300, 300, 400, 400]] });
    assert.equal(faces.length, 2);
    assert.ok(faces[0].confidence > 0.9 && faces[1].confidence < 0.5);
    const [{ box }] = (await client.align(photo, { boxes: [faces[0].box], boxesAre: "landmarks" })).faces;
    assert.ok(box.every((edge, i) => Math.abs(edge - faces[0].box[i]) < 10));
    const sure = await client.align(photo, { maxFaces: 1, minConfidence: 0.9 });
    assert.equal(sure.faces.length, 1);
    await assert.rejects(client.align(photo, { maxFaces: 0 }), { code: "invalid_request" });
    await assert.rejects(client.align(photo, { minConfidence: 2 }), { code: "invalid_request" });
  });

  test("asks for the head's direction alone", async () => {
    const { faces } = await client.pose(photo);
    assert.equal(faces[0].landmarks, undefined);
    assert.ok(Math.abs(faces[0].pose.yaw) < 10);
  });

  test("asks what the face does", async () => {
    const [{ signals, pose }] = (await client.align(photo, { signals: true, pose: true })).faces;
    assert.ok(signals.smile > 0.3 && signals.left_eye.open > 0.7);
    assert.equal(signals.right_eye.pupil.length, 2);
    assert.equal(typeof pose.yaw, "number");
    assert.equal((await client.pose(photo, { signals: true })).faces[0].signals.smile, signals.smile);
    const [{ answer: batched }] = await client.batch([photo], { signals: true });
    assert.equal(batched.faces[0].signals.smile, signals.smile);
    assert.equal(batched.faces[0].pose, undefined);
    const asked = { signals: true, fps: 25, patienceMs: 0 };
    for await (const { answer } of client.track([photo, photo], asked)) {
      assert.deepEqual(answer.faces[0].signals.blinks, { count: 0, closed_s: 0, last: null });
      assert.equal(typeof answer.faces[0].pose.yaw, "number");
    }
  });

  test("is told what was wrong", async () => {
    await assert.rejects(client.align(photo, { points: 7 }), { code: "invalid_request", status: 422 });
    await assert.rejects(client.align(photo.subarray(0, 2000)), { code: "invalid_image" });
    const aborted = AbortSignal.abort(new Error("enough"));
    await assert.rejects(client.align(photo, { signal: aborted }), /enough/);
  });

  test("answers several images in order, with a bad one between", async () => {
    const images = [photo, photo.subarray(0, 2000), new Blob([photo], { type: "image/jpeg" })];
    const results = await client.batch(images, { points: 5, pose: true });
    assert.deepEqual(results.map(({ image }) => image), images);
    assert.deepEqual(results.map(({ error }) => error?.code), [undefined, "invalid_image", undefined]);
    assert.ok(results[1].error.status === 422 && results[1].answer === null);
    const [first, last] = [results[0], results[2]].map(({ answer }) => answer.faces[0]);
    assert.equal(first.landmarks.length, 5);
    assert.deepEqual(first, last);
    assert.deepEqual(first, (await client.align(photo, { points: 5, pose: true })).faces[0]);
    assert.deepEqual(await client.batch([]), []);
  });

  test("asks several times for a long list, and in one order", async () => {
    const images = Array.from({ length: 35 }, (_, i) => photo.subarray(0, i % 2 ? 100 : photo.length));
    const results = await client.batch(images, { points: 5 });
    assert.deepEqual(results.map(({ image }) => image), images);
    assert.deepEqual(results.map(({ error }) => error === null), images.map((_, i) => i % 2 === 0));
    await assert.rejects(client.batch(images, { signal: AbortSignal.abort(new Error("enough")) }), /enough/);
    await assert.rejects(client.batch([photo], { points: 7 }), { code: "invalid_request", status: 422 });
  });

  test("follows frames in order under one id, with a bad one between", async () => {
    const frames = [photo, photo.subarray(0, 2000), photo, photo];
    const results = [];
    for await (const result of client.track(frames, { points: 68, smoothing: true })) results.push(result);
    assert.deepEqual(results.map(({ frame }) => frame), frames);
    assert.deepEqual(results.map(({ error }) => error?.code), [undefined, "invalid_image", undefined, undefined]);
    const faces = [0, 2, 3].map((i) => results[i].answer.faces[0]);
    assert.deepEqual(faces.map((face) => face.track_id), [1, 1, 1]);
    assert.equal(faces[2].smoothed.length, 68);
    assert.equal(results[3].answer.state, "tracked");
  });

  test("resumes its session after a cut, with the same id and without a detector", async () => {
    const states = [];
    const ids = [];
    await new Promise((resolve, reject) => {
      const stream = client.stream({
        opened: (session) => {
          states.push(session.state);
          stream.push(photo);
        },
        answered: ({ answer }) => {
          states.push(answer.state);
          ids.push(answer.faces[0].track_id);
          if (ids.length === 2) resolve(stream.end());
          else stream.cut();
        },
        failed: ({ error }) => reject(error),
        ended: reject,
      });
    });
    assert.deepEqual(states, ["new", "detected", "resumed", "resumed"]);
    assert.deepEqual(ids, [1, 1]);
  });

  test("that pushes more than can be answered is answered the newest frame last", async () => {
    const count = 60;
    const answered = [];
    const stream = await new Promise((resolve, reject) => {
      const one = client.stream({
        opened: () => {
          for (let i = 0; i < count; i += 1) one.push(photo, i);
        },
        answered: ({ frame }) => {
          answered.push(frame);
          if (frame === count - 1) resolve(one);
        },
        ended: reject,
      });
    });
    stream.end();
    assert.deepEqual(answered, answered.toSorted((a, b) => a - b));
    assert.equal(answered.length + stream.dropped, count);
    assert.ok(answered.length <= 4, `${answered}`);
  });
});

test("Nobody at the address is a failed connection, and so is a stream without patience", async () => {
  const { address, close } = await answering(200, "");
  close();
  const client = new Client(address, { WebSocket });
  await assert.rejects(client.align(new Uint8Array(3)), { code: "connection_failed" });
  await assert.rejects(client.track([new Uint8Array(3)], { patienceMs: 0 }).next(), { code: "connection_failed" });
});

test("A service that is slow is given up, for the reason of the signal that ended the wait", async (t) => {
  const server = createServer(() => {});
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client(`http://127.0.0.1:${server.address().port}`, { timeoutMs: 50 });
  await assert.rejects(client.align(new Uint8Array(3)), { code: "timed_out" });
  const patient = new Client(`http://127.0.0.1:${server.address().port}`);
  const signal = AbortSignal.timeout(20);
  await assert.rejects(patient.align(new Uint8Array(3), { signal }), (error) => error === signal.reason);
  const later = { signal: AbortSignal.timeout(10000) };
  await assert.rejects(client.align(new Uint8Array(3), later), { name: "AtpnError", code: "timed_out" });
});

test("Images are grouped into requests by number and size, and each has to have its answer", async () => {
  const asked = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const count = Buffer.concat(chunks).toString("latin1").split('name="image"').length - 1;
    asked.push(count);
    const results = Array(asked.length < 4 ? count : 1).fill({ faces: [] });
    response.end(JSON.stringify({ results }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client(`http://127.0.0.1:${server.address().port}`);
  const large = new Uint8Array(30 * 1024 * 1024);
  await client.batch([new Uint8Array(1), large, large, new Uint8Array(1)]);
  assert.deepEqual(asked, [2, 2]);
  await client.batch(Array(33).fill(new Uint8Array(1)).slice(1));
  assert.deepEqual(asked, [2, 2, 32]);
  await assert.rejects(client.batch([new Uint8Array(1), new Uint8Array(1)]), { code: "bad_answer" });
  server.closeAllConnections();
  server.close();
});

test("An image too large for a request of its own is an error in its place", async (t) => {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const large = Buffer.concat(chunks).length > 1e6;
    const problem = { code: "too_many_bytes", detail: "too large" };
    response.writeHead(large ? 413 : 200).end(JSON.stringify(large ? problem : { results: [{ faces: [] }] }));
  });
  t.after(() => server.close());
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client(`http://127.0.0.1:${server.address().port}`);
  const [small, large] = [new Uint8Array(1), new Uint8Array(41 * 1024 * 1024)];
  const results = await client.batch([small, large, small]);
  assert.deepEqual(results.map(({ error }) => error?.code), [undefined, "too_many_bytes", undefined]);
  assert.deepEqual(results.map(({ image }) => image.length), [1, large.length, 1]);
  await assert.rejects(client.batch([new Uint8Array(1e6), small]), { code: "too_many_bytes", status: 413 });
  server.closeAllConnections();
});

test("Only a type that an image can have is told; the service looks at the others for itself", async (t) => {
  const types = [];
  const server = createServer((request, response) => {
    types.push(request.headers["content-type"]);
    response.end(JSON.stringify({ faces: [] }));
  });
  t.after(() => server.close());
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client(`http://127.0.0.1:${server.address().port}`);
  for (const type of ["image/png", "binary/octet-stream", ""]) await client.align(new Blob(["x"], { type }));
  assert.deepEqual(types, ["image/png", "application/octet-stream", "application/octet-stream"]);
  server.closeAllConnections();
});

for (const [status, body, headers, expected] of [
  [200, "<html>", {}, { code: "bad_answer", status: 200 }],
  [502, "Bad Gateway", {}, { code: "http_502", message: "Bad Gateway" }],
  [503, '{"code": "overloaded", "detail": "later"}', { "Retry-After": "2" }, { code: "overloaded", retryAfterS: 2 }],
]) {
  test(`An answer ${status} ${body} is told as ${expected.code}`, async () => {
    const { address, close } = await answering(status, body, headers);
    await assert.rejects(new Client(address).align(new Uint8Array(3)), expected);
    close();
  });
}

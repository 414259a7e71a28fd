// How a video's frames become JPEGs where encoding fails, in a page that is made up.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { VideoFeed, everyFrame } from "atpn";

const turn = () => new Promise((resolve) => setImmediate(resolve));
const here = new Blob(["the page's"]);
const there = new Blob(["the worker's"]);

// A worker that answers each picture with the next of `answers`; an Error stands for one that breaks.
class FakeWorker {
  static answers = [];
  static missing = false; // its script: that is told before anything is sent
  ended = false;

  constructor() {
    if (FakeWorker.missing) setImmediate(() => this.onerror(new Error("no script")));
  }

  postMessage() {
    if (FakeWorker.missing) return;
    const data = FakeWorker.answers.shift();
    setImmediate(() => (data instanceof Error ? this.onerror(data) : this.onmessage({ data })));
  }

  terminate() {
    this.ended = true;
  }
}

// A video whose frames the test shows.
class FakeVideo {
  videoWidth = 1280;
  videoHeight = 720;

  requestVideoFrameCallback(step) {
    this.step = step;
  }

  async shows() {
    this.step();
    for (let turns = 0; turns < 5; turns += 1) await turn();
  }
}

// What was sent of the frames that a page showed, and what it was told of those that failed.
function page({ worker, canvas = [] }) {
  const [sent, told] = [[], []];
  const blobs = [...canvas];
  FakeWorker.answers = [...(worker ?? [])];
  globalThis.window = { OffscreenCanvas: worker && class {} };
  globalThis.Worker = FakeWorker;
  globalThis.createImageBitmap = async () => ({});
  globalThis.reportError = (error) => told.push(error.message);
  globalThis.document = {
    createElement: () => ({
      getContext: () => ({ drawImage() {} }),
      toBlob: (done) => setImmediate(() => done(blobs.length ? blobs.shift() : here)),
    }),
  };
  const video = new FakeVideo();
  const feed = new VideoFeed(video, { room: true, ready: true, push: (image) => sent.push(image) });
  return { video, feed, sent, told };
}

describe("A video feed", () => {
  for (const [name, answer] of [["answers that it failed", null], ["breaks", new Error("no script")]]) {
    test(`encodes by itself from then on where its worker ${name}`, async () => {
      const { video, sent, told } = page({ worker: [there, answer] });
      for (let frame = 0; frame < 3; frame += 1) await video.shows();
      assert.deepEqual(sent, [there, here, here]);
      assert.deepEqual(told, []);
    });
  }

  test("encodes by itself where its worker cannot be loaded", async (t) => {
    FakeWorker.missing = true;
    t.after(() => { FakeWorker.missing = false; });
    for (const early of [true, false]) {
      const { video, sent } = page({ worker: [] });
      if (!early) for (let turns = 0; turns < 3; turns += 1) await turn();
      await video.shows();
      await video.shows();
      assert.deepEqual(sent, [here, here]);
    }
  });

  test("reports a frame that cannot be encoded, and goes on with the next", async () => {
    const { video, sent, told } = page({ canvas: [null, here] });
    await video.shows();
    assert.deepEqual(sent, []);
    await video.shows();
    assert.deepEqual(sent, [here]);
    assert.deepEqual(told, ["this browser could not encode a frame of 640x360 as JPEG"]);
  });

  test("reports a frame that its worker cannot be given, and goes on with the next", async () => {
    const { video, sent, told } = page({ worker: [there] });
    const made = globalThis.createImageBitmap;
    globalThis.createImageBitmap = () => Promise.reject(new Error("out of memory"));
    await video.shows();
    globalThis.createImageBitmap = made;
    await video.shows();
    assert.deepEqual(sent, [there]);
    assert.deepEqual(told, ["out of memory"]);
  });
});

test("The worker answers null where it cannot encode, and keeps no picture", async () => {
  const answers = [];
  globalThis.onmessage = null;
  globalThis.postMessage = (answer) => answers.push(answer);
  await import("../src/encoder.js");
  const results = [
    () => Promise.reject(new Error("EncodingError")),
    () => { throw new Error("no such type"); },
    () => Promise.resolve(there),
  ];
  globalThis.OffscreenCanvas = class {
    getContext = () => ({ drawImage() {} });
    convertToBlob = () => results.shift()();
  };
  let closed = 0;
  const picture = { close: () => { closed += 1; } };
  for (let frame = 0; frame < 3; frame += 1) {
    await globalThis.onmessage({ data: { picture, width: 4, height: 3, quality: 0.8 } });
  }
  assert.deepEqual(answers, [null, null, there]);
  assert.equal(closed, 3);
});

test("Nothing is called any more once it was stopped, of a video that is paused either", () => {
  const steps = [];
  globalThis.requestAnimationFrame = (step) => steps.push(step);
  const shown = [];
  const video = { currentTime: 1, videoWidth: 640 };
  const stop = everyFrame(video, () => shown.push(video.currentTime));
  steps.shift()();
  steps.shift()();
  assert.deepEqual(shown, [1]);
  stop();
  steps.shift()();
  assert.deepEqual(steps, []);
});

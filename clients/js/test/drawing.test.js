// What is drawn, on a canvas that notes its lines.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { drawAnswer } from "atpn";

const size = { width: 640, height: 480 };
const rotation = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; // red points at the viewer

class FakePath {
  points = [];

  moveTo(...point) {
    this.points.push(point);
  }

  lineTo(...point) {
    this.points.push(point);
  }

  closePath() {}
}

// A canvas of the page, and the lines that were drawn on it: {colour, points}.
function canvasWithLines() {
  const lines = [];
  const known = {
    stroke: ({ points }) => lines.push({ colour: context.strokeStyle, points }),
    measureText: () => ({ width: 40 }),
  };
  const context = new Proxy(known, { get: (target, name) => target[name] ?? (() => {}) });
  return { canvas: { clientWidth: 640, clientHeight: 480, getContext: () => context }, lines };
}

const axis = (lines, colour) => lines.find((line) => line.colour === colour).points;

beforeEach(() => {
  globalThis.window = {};
  globalThis.Path2D = FakePath;
  globalThis.getComputedStyle = () => ({ fontFamily: "serif" });
});

test("A head without landmarks has its axes in the middle of its box", () => {
  const { canvas, lines } = canvasWithLines();
  const face = { box: [200, 100, 360, 300], confidence: 1, pose: { rotation } };
  drawAnswer(canvas, {}, { image: size, faces: [face] });
  assert.deepEqual(axis(lines, "#2f7dff"), [[280, 200], [380, 200]]);
  assert.deepEqual(axis(lines, "#2fc75a"), [[280, 200], [280, 300]]);
});

test("A head with landmarks has its axes at the tip of its nose", () => {
  const { canvas, lines } = canvasWithLines();
  const landmarks = [[240, 160], [320, 160], [290, 210], [250, 250], [310, 250]];
  const face = { box: [200, 100, 360, 300], confidence: 1, landmarks, pose: { rotation } };
  drawAnswer(canvas, {}, { image: size, faces: [face] });
  assert.deepEqual(axis(lines, "#2f7dff"), [[290, 210], [390, 210]]);
});

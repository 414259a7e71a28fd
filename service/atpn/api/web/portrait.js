// The head that invites; it turns as long as nothing else is shown.

import { drawHead, rotationOf } from "./head.js";

const STILL_S = 0.9; // the moment that is shown to people who want no motion

export class Portrait {
  constructor(canvas) {
    this._canvas = canvas;
    this._calm = matchMedia("(prefers-reduced-motion: reduce)");
    this._frame = null;
  }

  start() {
    this._frame ??= requestAnimationFrame((time) => this._turn(time));
  }

  stop() {
    cancelAnimationFrame(this._frame);
    this._frame = null;
  }

  // After a change of size or colours; a turning head sees to it by itself.
  redraw() {
    if (this._calm.matches) this._draw(STILL_S);
  }

  _turn(time) {
    this._draw(this._calm.matches ? STILL_S : time / 1000);
    this._frame = this._calm.matches ? null : requestAnimationFrame((next) => this._turn(next));
  }

  _draw(t) {
    drawHead(this._canvas, rotationOf(28 * Math.sin(t * 0.55), 7 * Math.sin(t * 0.4 + 1)), { axes: false });
  }
}

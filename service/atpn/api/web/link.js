// One stream over /track that outlives its connections: it comes back with its token and backs off.

import { Failure, protocols } from "./service.js";

const MOST_UNDER_WAY = 2; // one in flight and one waiting, as the service keeps them
const FIRST_DELAY_MS = 600;
const LONGEST_DELAY_MS = 5000;
const OPENING_MS = 5000;
const SILENCE_MS = 15000; // with a frame under way; the service answers or refuses before that
const RESTART = 1012;
const CUT = 4000;

export class Link {
  // `on` has open(session), answer(answer, frame, tripMs), refused(), problem(failure),
  // away(reason, delayMs); a frame is whatever `send` was given.
  constructor(url, on) {
    this.token = null;
    this.resumes = 0;
    this.dropped = 0;
    this._url = url;
    this._on = on;
    this._tries = 0;
    this._ready = false;
    this._ended = false;
    this._asleep = false;
    this._underWay = [];
    this._connect();
  }

  // Whether a frame may be sent now.
  get room() {
    if (this._asleep) this._wake();
    return this._ready && this._underWay.length < MOST_UNDER_WAY;
  }

  get ready() {
    return this._ready;
  }

  send(blob, frame) {
    if (!this._ready) return;
    this._underWay.push({ frame, sent: performance.now() });
    this._socket.send(blob);
    this._watch();
  }

  // A control message, such as {type: "config", smoothing: true}; an open stream is needed.
  tell(message) {
    if (this._ready) this._socket.send(JSON.stringify(message));
  }

  // What a broken cable would do, for people who want to see what happens then.
  cut() {
    this._lost(CUT);
  }

  end() {
    this._ended = true;
    this._drop();
    clearTimeout(this._timer);
  }

  _connect() {
    const url = new URL(this._url);
    if (this.token) url.searchParams.set("token", this.token);
    const socket = new WebSocket(url, protocols());
    this._socket = socket;
    this._timer = setTimeout(() => this._lost(1006), OPENING_MS);
    socket.onmessage = ({ data }) => socket === this._socket && this._take(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this._socket && this._lost(code);
  }

  _take(message) {
    if (message.type === "session") this._opened(message);
    else if (message.type === "frame") this._answered(message);
    else if (message.type === "error") this._failed(message);
    else if (message.type === "closing") this._asleep = message.reason === "idle";
  }

  _opened(session) {
    clearTimeout(this._timer);
    this.token = session.token;
    this.resumes += session.state === "resumed";
    this._tries = 0;
    this._ready = true;
    this._on.open(session);
  }

  _answered(message) {
    this._underWay.splice(0, message.dropped);
    this.dropped += message.dropped;
    const { frame, sent } = this._underWay.shift() ?? {};
    this._watch();
    if (frame) this._on.answer(message, frame, performance.now() - sent);
  }

  _failed(message) {
    if (message.code === "unauthorized") {
      this.end();
      this._on.refused();
      return;
    }
    if (message.seq === undefined) this._underWay.pop();
    else this._underWay.splice(0, message.dropped + 1);
    this._watch();
    this._on.problem(new Failure(message.code, message.detail));
  }

  _watch() {
    clearTimeout(this._timer);
    if (this._underWay.length) this._timer = setTimeout(() => this._lost(1006), SILENCE_MS);
  }

  _drop() {
    const socket = this._socket;
    this._socket = null;
    this._ready = false;
    this.dropped += this._underWay.length;
    this._underWay = [];
    socket?.close();
  }

  _lost(code) {
    const wasReady = this._ready;
    clearTimeout(this._timer);
    this._drop();
    if (this._ended || this._asleep) return;
    // A service that restarts has said so: another one may take over at once.
    const delay = code === RESTART && wasReady ? 0 : this._backOff();
    this._timer = setTimeout(() => this._connect(), delay);
    this._on.away(code === CUT ? "cut" : code === RESTART ? "restart" : "lost", delay);
  }

  _backOff() {
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this._tries);
    this._tries += 1;
    return delay * (0.8 + 0.4 * Math.random());
  }

  _wake() {
    this._asleep = false;
    this._connect();
  }
}

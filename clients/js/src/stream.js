// One stream over /track that outlives its connections: it comes back with its token and backs off.

import { AtpnError } from "./errors.js";
import { anImage } from "./images.js";

const PLACES = 2; // one frame in flight and one waiting, as the service keeps them
const SPREAD_MS = 50; // within which the streams of a replica that died come to the others
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5000;
const CUT_DELAY_MS = 600; // long enough to be seen
const OPENING_MS = 5000;
const SILENCE_MS = 15000; // with a frame under way; the service answers or refuses before that
const IDLE_MS = 1000;
const STRANGERS = 5; // connections to where no service has ever greeted
const RESTART = 1012;
const ABNORMAL = 1006;
const CUT = 4000;
const LATER = ["too_many_streams", "shutting_down", "overloaded", "rate_limited"]; // refused for now

// Frames go in by `push`, of which the newest wins; what happens is told to handlers, all optional:
// opened(session), answered({answer, frame, tripMs}), failed({error, frame}),
// away({reason, delayMs, error}), and ended(error), after which nothing more comes.
export class Stream {
  dropped = 0; // frames that got no answer: replaced by newer ones, or lost with a connection
  resumes = 0; // how often the stream came back to its session
  token = null;

  #connect;
  #on;
  #options;
  #patienceMs;
  #socket = null;
  #timer = null;
  #ready = false;
  #asleep = false;
  #ended = false;
  #forgetful = false; // a reset that no frame has followed yet
  #tries = 0; // connections since the last answer
  #lostAt = null; // when the first of them ended
  #idleSince = 0; // the greeting or last answer
  #refusal = null;
  #limit = Infinity; // bytes of a frame
  #waiting = null; // {image, frame}
  #underWay = []; // {frame, sent}

  // `connect(token)` gives a WebSocket. So long it comes back without an answer.
  constructor(connect, handlers, { patienceMs = Infinity, ...options } = {}) {
    this.#connect = connect;
    this.#on = handlers;
    this.#patienceMs = patienceMs;
    this.#options = options;
    this.#open();
  }

  // The connection is open and the service has greeted.
  get ready() {
    return this.#ready;
  }

  // A frame that is pushed now is sent at once, or wakes a stream that was closed for idleness:
  // ask before you encode one.
  get room() {
    return this.#asleep || (this.#ready && !this.#waiting && this.#underWay.length < PLACES);
  }

  // Send an encoded image when there is room; until then it waits, in place of an older one.
  // `frame` is whatever should come back with the answer.
  push(image, frame = image) {
    if (this.#ended) return;
    anImage(image);
    if (this.#waiting) this.dropped += 1;
    else if (this.#asleep || this.#isIdle) this.#lostAt = null; // nothing was asked meanwhile
    this.#waiting = { image, frame };
    if (this.#asleep) {
      this.#asleep = false;
      this.#hangUp();
      this.#open();
    } else this.#flush();
  }

  // Change what is answered from now on: points, pose, signals, maxFaces, minConfidence, smoothing, fps.
  configure(options) {
    this.#options = { ...this.#options, ...options };
    if (this.#ready) this.#sendConfig();
  }

  // Forget all faces, from the next frame on.
  reset() {
    this.#forgetful = true;
    if (this.#ready) this.#sendReset();
  }

  // What a broken cable would do, for people who want to see what happens then.
  cut() {
    if (!this.#ended) this.#lost(CUT);
  }

  end() {
    this.#ended = true;
    this.#hangUp();
  }

  #open() {
    const socket = this.#connect(this.token);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#lost(ABNORMAL), OPENING_MS);
    socket.onmessage = ({ data }) => socket === this.#socket && this.#take(data);
    socket.onclose = ({ code }) => socket === this.#socket && this.#lost(code);
    socket.onerror = () => {}; // onclose follows
  }

  #take(data) {
    let message = {};
    try {
      message = JSON.parse(data) ?? {};
    } catch {
      this.#fail(new AtpnError("bad_answer", "a message that cannot be read: is this the right address?"));
    }
    if (message.type === "session") this.#opened(message);
    else if (message.type === "frame") this.#answered(message);
    else if (message.type === "error") this.#failed(message);
    else if (message.type === "closing") this.#asleep = message.reason === "idle";
  }

  #opened(session) {
    clearTimeout(this.#timer);
    this.token = session.token;
    this.resumes += session.state === "resumed";
    this.#limit = session.limits.max_frame_bytes;
    this.#refusal = null;
    this.#ready = true;
    this.#idleSince = performance.now();
    this.#sendConfig();
    if (this.#forgetful) this.#sendReset();
    this.#tell(() => this.#on.opened?.(session));
  }

  #answered(answer) {
    const done = this.#shift(answer.dropped);
    const tripMs = done && performance.now() - done.sent;
    this.#tell(() => done && this.#on.answered?.({ answer, frame: done.frame, tripMs }));
  }

  #failed({ code, detail, seq, dropped }) {
    const error = new AtpnError(code, detail);
    if (seq !== undefined) {
      const done = this.#shift(dropped);
      this.#tell(() => done && this.#on.failed?.({ error, frame: done.frame }));
    } else if (!this.#ready && LATER.includes(code)) this.#refusal = error; // the end follows
    else this.#fail(error);
  }

  // The frame that waits is sent although the caller's handler throws.
  #tell(handler) {
    try {
      handler();
    } finally {
      this.#flush();
    }
  }

  // The frame that is answered: behind those that the service dropped for newer ones.
  #shift(dropped) {
    this.#tries = 0;
    this.#lostAt = null;
    this.#idleSince = performance.now();
    this.dropped += this.#underWay.splice(0, dropped).length;
    const done = this.#underWay.shift();
    this.#watch();
    return done;
  }

  #flush() {
    if (!this.#ready || !this.#waiting || this.#underWay.length >= PLACES) return;
    const { image, frame } = this.#waiting;
    const bytes = image.size ?? image.byteLength;
    this.#waiting = null;
    if (bytes > this.#limit) { // a message so long would end the connection
      const error = new AtpnError("too_many_bytes", `a frame of ${bytes} bytes is more than ${this.#limit}`);
      this.#on.failed?.({ error, frame });
      return;
    }
    this.#underWay.push({ frame, sent: performance.now() });
    this.#socket.send(image);
    this.#forgetful = false;
    this.#watch();
  }

  #sendConfig() {
    const { points, pose, signals, maxFaces, minConfidence, smoothing, fps } = this.#options;
    const asked = pose !== undefined || signals !== undefined;
    const include = asked ? included({ pose: pose ?? true, signals }) : undefined; // poses come unasked
    const config = { points, include, max_faces: maxFaces, min_confidence: minConfidence, smoothing, fps };
    if (Object.values(config).every((value) => value === undefined)) return;
    this.#socket.send(JSON.stringify({ type: "config", ...config }));
  }

  #sendReset() {
    this.#socket.send(JSON.stringify({ type: "reset" }));
  }

  #watch() {
    clearTimeout(this.#timer);
    if (this.#underWay.length) this.#timer = setTimeout(() => this.#lost(ABNORMAL), SILENCE_MS);
  }

  #hangUp() {
    const socket = this.#socket;
    clearTimeout(this.#timer);
    this.#socket = null;
    this.#ready = false;
    this.dropped += this.#underWay.length;
    this.#underWay = [];
    socket?.close();
  }

  #lost(code) {
    const wasReady = this.#ready;
    const idle = this.#asleep && !this.#waiting && !this.#underWay.length;
    const error = this.#refusal;
    this.#hangUp();
    if (idle) return;
    this.#asleep = false;
    this.#lostAt ??= performance.now();
    if (this.#isSpent(error)) {
      const detail = `no answer over ${this.#tries + 1} connections`;
      this.#fail(error ?? new AtpnError("connection_failed", detail));
      return;
    }
    const delayMs = this.#delayMs(code, wasReady);
    this.#timer = setTimeout(() => this.#open(), delayMs);
    this.#on.away?.({ reason: reasonOf(code, error), delayMs, error });
  }

  // The connection stands and nothing is asked; a moment after the greeting that says little.
  get #isIdle() {
    return this.#ready && !this.#underWay.length && performance.now() - this.#idleSince > IDLE_MS;
  }

  // Whether to give up; where nobody was ever there, after a few tries.
  #isSpent(refusal) {
    if (this.#patienceMs === Infinity) return false;
    if (!this.token && !refusal && this.#tries >= STRANGERS) return true;
    return performance.now() - this.#lostAt >= this.#patienceMs;
  }

  // Another replica may take over at once; one that restarts has said so between two frames.
  #delayMs(code, wasReady) {
    if (code === RESTART && wasReady) return 0;
    const attempt = Math.max(this.#tries, wasReady ? 0 : 1);
    this.#tries += 1;
    if (code === CUT) return CUT_DELAY_MS;
    if (attempt === 0) return SPREAD_MS * Math.random();
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (attempt - 1));
    return longest * (0.5 + 0.5 * Math.random());
  }

  #fail(error) {
    this.end();
    this.#on.ended?.(error);
  }
}

// What is told of a face beside its points.
export function included({ pose, signals }) {
  return [...(pose ? ["pose"] : []), ...(signals ? ["signals"] : [])];
}

function reasonOf(code, refusal) {
  if (refusal) return "refused";
  return { [CUT]: "cut", [RESTART]: "restart" }[code] ?? "lost";
}

// A client of one service: photographs by HTTP, streams by WebSocket.

import { AtpnError } from "./errors.js";
import { anImage, contentType, several } from "./images.js";
import { Stream, included } from "./stream.js";

const SUBPROTOCOL = "atpn.v1.json";
const KEY = /^[!-~]([ -~]*[!-~])?$/; // what a header can carry
const GROUP = { images: 32, bytes: 40 * 1024 * 1024 }; // a service's own limits, with some room

export class Client {
  #base;
  #key;
  #timeoutMs;
  #WebSocket;

  constructor(url, { key, timeoutMs = 15000, WebSocket = globalThis.WebSocket } = {}) {
    if (!/^https?:\/\//.test(url)) throw new TypeError(`url: http:// or https:// is expected, not ${url}`);
    if (key && !KEY.test(key)) {
      throw new TypeError("key: ASCII alone is expected, without line breaks, and no space at either end");
    }
    this.#base = url.replace(/\/*$/, "/");
    this.#key = key;
    this.#timeoutMs = timeoutMs;
    this.#WebSocket = WebSocket;
  }

  // The faces of an encoded image: a Blob, or bytes.
  async align(image, { points, pose, signals, ...options } = {}) {
    const include = included({ pose, signals }).join(",") || undefined;
    return this.#post("align", anImage(image), { points, include, ...limits(options) }, options);
  }

  // The directions of the heads alone.
  async pose(image, { signals, ...options } = {}) {
    const include = signals ? "signals" : undefined;
    return this.#post("pose", anImage(image), { include, ...limits(options) }, options);
  }

  // The faces of several images, in their order: {image, answer, error}. Long lists become several
  // requests, one after the other; a refused image is an error in its own place.
  async batch(images, { points, pose, signals, ...options } = {}) {
    const include = included({ pose, signals }).join(",") || undefined;
    const query = { points, include, ...limits(options) };
    const results = [];
    for (const group of groups([...several(images)].map(anImage))) {
      const form = new FormData();
      group.forEach((image, i) => form.append("image", image instanceof Blob ? image : new Blob([image]), `${i}`));
      const complete = (told) => told?.results?.length === group.length;
      try {
        const { results: told } = await this.#post("align/batch", form, query, options, complete);
        results.push(...told.map((answer, i) => resultOf(group[i], answer)));
      } catch (error) {
        if (error.status !== 413 || group.length > 1) throw error;
        results.push({ image: group[0], answer: null, error }); // too large for a request of its own
      }
    }
    return results;
  }

  // Every one of the frames, answered in order: {answer, frame, error}. The next is asked for when
  // the one before was answered; what a broken connection swallowed is sent again.
  async *track(frames, { patienceMs = 30000, ...options } = {}) {
    several(frames);
    let asked = null; // {frame, resolve, reject}
    let failure = null;
    const stream = this.stream({
      answered: ({ answer, frame }) => asked?.resolve({ answer, frame, error: null }),
      failed: ({ error, frame }) => asked?.resolve({ answer: null, frame, error }),
      away: () => asked && stream.push(asked.frame),
      ended: (error) => {
        failure = error;
        asked?.reject(error);
      },
    }, { ...options, patienceMs });
    try {
      for await (const frame of frames) {
        if (failure) throw failure;
        const result = await new Promise((resolve, reject) => {
          asked = { frame, resolve, reject };
          stream.push(frame);
        });
        asked = null;
        yield result;
      }
    } finally {
      stream.end();
    }
  }

  // A live stream: see Stream; what happens is told to `handlers`.
  stream(handlers, options = {}) {
    if (!this.#WebSocket) {
      throw new TypeError(
        "this runtime has no WebSocket (Node has one from 22): install ws and give its, "
        + 'import WebSocket from "ws"; new Client(url, { WebSocket })',
      );
    }
    return new Stream((token) => this.#open(token), handlers, options);
  }

  #open(token) {
    const url = new URL("track", this.#base.replace(/^http/, "ws"));
    if (token) url.searchParams.set("token", token);
    // A browser can set no headers on a WebSocket: the key is offered as a subprotocol, which the
    // service reads but never selects.
    const offered = this.#key ? [SUBPROTOCOL, `atpn.key.${base64url(this.#key)}`] : [SUBPROTOCOL];
    return new this.#WebSocket(url.href, offered);
  }

  async #post(path, body, query, { boxes, signal }, isAnswer = hasFaces) {
    const url = new URL(path, this.#base);
    const asked = { ...query, boxes: boxes && JSON.stringify(boxes) };
    for (const [name, value] of Object.entries(asked)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const headers = { "X-Request-Timeout": String(this.#timeoutMs / 1000) };
    // A form's type has its boundary in it, which fetch chooses.
    if (!(body instanceof FormData)) headers["Content-Type"] = contentType(body.type);
    if (this.#key) headers.Authorization = `Bearer ${this.#key}`;
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    const ends = signal ? AbortSignal.any([timeout, signal]) : timeout;
    return answerOf(url, { method: "POST", body, headers, signal: ends }, isAnswer, signal);
  }
}

// `signal` is the caller's own, one of those that end the request.
async function answerOf(url, request, isAnswer, signal) {
  let response;
  let body;
  try {
    response = await fetch(url, request);
    body = await response.text();
  } catch (cause) {
    const { aborted, reason } = request.signal; // the reason is that of the signal that came first
    if (signal?.aborted && reason === signal.reason) throw reason;
    const code = aborted ? "timed_out" : "connection_failed";
    throw new AtpnError(code, cause.cause?.message ?? cause.message, { cause });
  }
  const told = parsed(body);
  if (response.ok && isAnswer(told)) return told;
  const { status } = response;
  const after = Number.parseFloat(response.headers.get("retry-after") ?? "");
  const code = told?.code ?? (response.ok ? "bad_answer" : `http_${status}`);
  const detail = told?.detail ?? (body.slice(0, 200) || "an empty answer");
  throw new AtpnError(code, detail, { status, retryAfterS: Number.isNaN(after) ? null : after });
}

function hasFaces(told) {
  return Array.isArray(told?.faces);
}

function resultOf(image, answer) {
  if (!answer.error) return { image, answer, error: null };
  const { code, detail, status } = answer.error;
  return { image, answer: null, error: new AtpnError(code, detail, { status }) };
}

// Neighbours that go into one request.
function groups(images) {
  const found = [];
  let bytes = 0;
  for (const image of images) {
    const size = image.size ?? image.byteLength;
    const group = found.at(-1);
    if (!group || group.length === GROUP.images || bytes + size > GROUP.bytes) {
      found.push([image]);
      bytes = size;
    } else {
      group.push(image);
      bytes += size;
    }
  }
  return found;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function limits({ maxFaces, minConfidence, boxesAre, quality }) {
  return { max_faces: maxFaces, min_confidence: minConfidence, boxes_are: boxesAre, quality };
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

// How the page speaks to the service: addresses, the key, photographs, and what its errors mean.

const KEY = "atpn.key";
const TIMEOUT_MS = 30000;

const address = (path) => new URL(path, document.baseURI).href;

export const ALIGN = address("align?include=pose");
export const BASE = address(".").replace(/\/$/, "");
export const TRACK = address("track").replace(/^http/, "ws");

export const hasKey = () => Boolean(sessionStorage.getItem(KEY));
export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

// A browser can set no headers on a WebSocket: the key is offered as a subprotocol, which the
// service reads but never selects.
export function protocols() {
  const key = sessionStorage.getItem(KEY);
  return key ? ["atpn.v1.json", `atpn.key.${base64url(key)}`] : ["atpn.v1.json"];
}

function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function keyHeader() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

// What the service said went wrong; `code` is its own, or `gone` where nobody answered.
export class Failure extends Error {
  constructor(code, detail) {
    super(detail);
    this.code = code;
  }
}

async function call(url, options) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  let answer;
  try {
    answer = await fetch(url, { ...options, signal, headers: { ...options.headers, ...keyHeader() } });
  } catch (error) {
    throw new Failure("gone", String(error.message));
  }
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Failure(problem.code ?? `http_${answer.status}`, problem.detail ?? answer.statusText);
}

export async function align(file) {
  const type = file.type || "application/octet-stream";
  return call(ALIGN, { method: "POST", body: file, headers: { "Content-Type": type } });
}

// Who answers, for everyone to read; null where nobody does.
export async function readiness() {
  try {
    const answer = await fetch(address("readyz"), { signal: AbortSignal.timeout(5000), cache: "no-store" });
    return await answer.json();
  } catch {
    return null;
  }
}

// Whether the service wants a key that the page does not have.
export async function wantsKey() {
  try {
    await call(address("v2"), {});
  } catch (error) {
    return error.code === "unauthorized";
  }
  return false;
}

// What to tell people about a failure: a title, and what they can do.
export function explained(error) {
  const known = {
    gone: ["The service does not answer.", "It may have stopped or be starting. Try again in a moment."],
    unauthorized: ["The service wants a key.", "The one it was given is missing or wrong."],
    unsupported_media_type: ["The service cannot read this kind of picture.", "JPEG, PNG, WebP and BMP work."],
    invalid_image: ["This is not an image that can be read.", "It may be damaged or cut short."],
    too_many_bytes: ["This file is too large.", error.message],
    too_many_pixels: ["This picture is too large.", error.message],
    overloaded: ["The service is busy.", "Try again in a moment."],
    rate_limited: ["That was too fast.", "The service limits how much one client may ask. Wait a little."],
    forbidden_origin: ["This address may not open streams.", "Open the page under the service's own address."],
    engine_unavailable: ["The network cannot be reached.", "Try again in a moment."],
    too_many_streams: ["The service is full.", "The page tries again by itself."],
    shutting_down: ["The service is about to restart.", "Try again in a moment."],
    deadline_exceeded: ["The service took too long.", "Try again in a moment."],
  };
  return known[error.code] ?? ["Something went wrong.", error.message || String(error)];
}

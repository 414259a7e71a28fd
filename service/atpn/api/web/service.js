// How the page speaks to the service: addresses, the key, a client, and what its errors mean.

import { Client } from "./atpn/client.js";

const KEY = "atpn.key";
const TIMEOUT_MS = 30000;

const address = (path) => new URL(path, document.baseURI).href;

export const ALIGN = address("align?include=pose,signals");
export const BASE = address(".").replace(/\/$/, "");

export const hasKey = () => Boolean(sessionStorage.getItem(KEY));
export const forgetKey = () => sessionStorage.removeItem(KEY);

// TypeError where that can be no key.
export function setKey(key) {
  new Client(BASE, { key });
  sessionStorage.setItem(KEY, key);
}

// A client with the key that the page has now.
export function client() {
  return new Client(BASE, { key: sessionStorage.getItem(KEY) ?? undefined, timeoutMs: TIMEOUT_MS });
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
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(address("v2"), { headers }).catch(() => null);
  return answer?.status === 401;
}

// What to tell people about a failure: a title, and what they can do.
export function explained(error) {
  const known = {
    connection_failed: ["The service does not answer.", "It may have stopped or be starting. Try again in a moment."],
    timed_out: ["The service does not answer.", "It may be busy. Try again in a moment."],
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

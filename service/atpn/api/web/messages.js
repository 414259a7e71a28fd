// What the page says besides figures: a notice, what it is busy with, a word for the state, a log.

import { $ } from "./dom.js";

const LOG_LINES = 5;

// A notice with, at most, one button: [its text, what it does]. Without a title, none.
export function tell(title, text = "", action = null) {
  $("notice").hidden = !title;
  $("notice-title").textContent = title ?? "";
  $("notice-text").textContent = text;
  $("notice-action").hidden = !action;
  if (action) [$("notice-action").textContent, $("notice-action").onclick] = action;
}

export function busy(text) {
  $("busy").hidden = !text;
  if (text) $("busy-text").textContent = text;
}

export function pill(state, text) {
  const element = $("pill");
  if (element.dataset.state === state && element.textContent === text) return;
  element.dataset.state = state;
  element.textContent = text;
}

export function note(text) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { hour12: false });
  line.append(time, text);
  $("log").append(line);
  while ($("log").children.length > LOG_LINES) $("log").firstChild.remove();
}

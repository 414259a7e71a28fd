// The panel: gauges and figures, which tell the same answer.

import { $ } from "./dom.js";
import { keyOf } from "./source.js";

const ANGLES = ["yaw", "pitch", "roll"];
const FULL_DEGREES = 60; // a gauge's end
const NOTHING = "–";
const EYES = ["first", "second"]; // from the left of what is shown
const SIGNALS = { mouth: "mouth_open", smile: "smile", brows: "brow_raise" };

// Both at once: a gauge that ran ahead of the figure beside it would contradict it.
export function writeMeasures(source) {
  drawGauges(source?.chosen, source?.mirrored);
  writeFigures(source);
}

export function drawGauges(face, mirrored) {
  for (const angle of ANGLES) {
    const value = face?.pose?.[angle] ?? 0;
    const part = Math.min(50, (50 * Math.abs(value)) / FULL_DEGREES);
    const mark = $(`${angle}-mark`);
    mark.style.width = `${part}%`;
    mark.style.left = `${value < 0 ? 50 - part : 50}%`;
  }
  fill("confidence", face?.confidence);
  drawSignals(face?.signals, mirrored);
}

function drawSignals(signals, mirrored) {
  eyesOf(signals, mirrored).forEach((eye, i) => fill(`${EYES[i]}-eye`, eye?.open));
  for (const [name, key] of Object.entries(SIGNALS)) fill(name, signals?.[key]);
}

function fill(name, share) {
  $(`${name}-mark`).style.left = 0;
  $(`${name}-mark`).style.width = `${100 * (share ?? 0)}%`;
}

// As the picture shows them: what is left in a mirrored picture is right in its answer.
function eyesOf(signals, mirrored) {
  const eyes = [signals?.left_eye, signals?.right_eye];
  return mirrored ? eyes.reverse() : eyes;
}

function writeFigures(source) {
  const face = source?.chosen;
  for (const angle of ANGLES) $(angle).textContent = told(face?.pose?.[angle], degrees);
  $("confidence").textContent = told(face?.confidence, (share) => `${(100 * share).toFixed(1)} %`);
  writeSignals(face?.signals, source?.mirrored);
  $("fps").textContent = told(source?.frameRate, (rate) => rate.toFixed(0));
  $("dropped").textContent = told(source?.dropped, String);
  $("trip").textContent = told(median(source?.trips ?? []), milliseconds);
  const ms = source?.answer?.ms;
  $("server").textContent = told(ms && ms.decode + ms.detect + ms.queue + ms.inference, milliseconds);
  $("detect").textContent = told(ms?.detect, milliseconds);
  $("inference").textContent = told(ms?.inference, milliseconds);
}

function writeSignals(signals, mirrored) {
  const open = eyesOf(signals, mirrored).map((eye) => told(eye?.open, (share) => (100 * share).toFixed(0)));
  $("eyes").textContent = signals ? open.join("\u2009/\u2009") : NOTHING;
  for (const [name, key] of Object.entries(SIGNALS)) $(name).textContent = told(signals?.[key], percent);
  $("blinks").textContent = told(signals?.blinks, ({ count }) => (count === 1 ? "1 blink" : `${count} blinks`));
}

const told = (value, words) => (value === undefined || value === null ? NOTHING : words(value));
const percent = (share) => `${(100 * share).toFixed(0)} %`;
const degrees = (value) => `${value.toFixed(1).replace("-", "−")}°`;
const milliseconds = (ms) => ms.toFixed(ms < 10 ? 1 : 0);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

// A button for each face where there are several.
export function writeChips(source, onChoose) {
  const faces = source?.faces ?? [];
  const keys = faces.length > 1 ? faces.map(keyOf) : [];
  const box = $("faces");
  if (box.dataset.keys !== keys.join(" ")) {
    box.dataset.keys = keys.join(" ");
    box.replaceChildren(...keys.map((key) => chip(key, onChoose)));
  }
  const chosen = faces.indexOf(source?.chosen);
  [...box.children].forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
}

function chip(key, onChoose) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = key;
  button.setAttribute("aria-label", `Face ${key}`);
  button.onclick = () => onChoose(key);
  return button;
}

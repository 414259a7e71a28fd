// The page: what is shown, when, and what the buttons do.

import { drawFaces, drawPicture, nameOf } from "./draw.js";
import { Copies, Encoder, NotPlayable, closeVideo, everyFrame, openVideo, openWebcam } from "./frames.js";
import { STRAIGHT, drawHead, rotationOf } from "./head.js";
import { Link } from "./link.js";
import { TRACK, align, explained, forgetKey, hasKey, health, setKey, wantsKey } from "./service.js";
import { readable, snippets } from "./snippets.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const video = $("video");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const HEALTH_MS = 5000;
const TEXT_MS = 250; // figures are read, not watched
const WINDOW_MS = 2000; // of the frame rate
const SETTLED_MS = 1000; // a face that is gone this long is lost
const RESUMED_MS = 1600; // how long the word stays
const LOG_LINES = 5;

let run = null; // the source that is open: {mode, name, type, picture, size, answer, …}
let again = null; // what to do once a key was given

// ---- opening and closing a source

async function open(file) {
  const isVideo = file.type.startsWith("video/");
  if (isVideo) return openStream("video", file);
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return tell("This is not a photo or video.", `${file.name || "The file"} cannot be read as one.`);
  }
  return openPhoto(file, picture);
}

async function openPhoto(file, picture) {
  const size = { width: picture.width, height: picture.height };
  const mine = begin({ mode: "photo", name: file.name || "photo.jpg", type: file.type, picture, size });
  show();
  busy("Looking for faces…");
  const started = performance.now();
  try {
    const answer = await align(file);
    if (run !== mine) return;
    mine.answer = answer;
    mine.size = answer.image;
    mine.trips = [performance.now() - started];
    photoAnswered(mine);
  } catch (error) {
    if (run !== mine) return;
    pill("offline", "no answer");
    if (error.code === "unauthorized") askForKey(() => openPhoto(file, picture), error);
    else tell(...explained(error), ["Try again", () => openPhoto(file, picture)]);
  } finally {
    if (run === mine) busy(null);
  }
}

function photoAnswered(mine) {
  const count = mine.answer.faces.length;
  note(count === 0 ? "No face found" : count === 1 ? "One face found" : `${count} faces found`);
  if (count) pill("found", count === 1 ? "1 face" : `${count} faces`);
  else {
    pill("no face", "no face");
    tell("No face in this picture.", "It should be larger than a thumbnail and look roughly this way.");
  }
  stage.dataset.state = count ? "detected" : "lost";
  show();
  write();
}

async function openStream(mode, file = null) {
  const mine = begin({ mode, name: file?.name ?? "webcam", type: file?.type ?? "" });
  busy(mode === "webcam" ? "Waiting for the webcam…" : "Opening the video…");
  try {
    const media = mode === "webcam" ? await openWebcam(video) : await openVideo(video, file);
    if (run !== mine) {
      for (const track of media?.getTracks() ?? []) track.stop();
      return;
    }
  } catch (error) {
    if (run !== mine) return;
    close();
    tell(...whyNot(error, mode), mode === "webcam" ? ["Try again", () => openStream("webcam")] : null);
    return;
  }
  for (const track of video.srcObject?.getTracks() ?? []) {
    track.onended = () => run === mine && (close(), tell("The webcam was unplugged or taken away.", ""));
  }
  mine.copies = new Copies();
  mine.encoder = new Encoder();
  mine.stop = everyFrame(video, () => frame(mine));
  busy("Connecting…");
  connect(mine);
}

function connect(mine) {
  mine.link = new Link(TRACK, {
    open: (session) => opened(mine, session),
    answer: (answer, picture, trip) => answered(mine, answer, picture, trip),
    problem: (error) => mine === run && tell(...explained(new Problem(error))),
    refused: (error) => mine === run && askForKey(() => connect(mine), error),
    away: (reason, delay) => away(mine, reason, delay),
  });
}

class Problem extends Error {
  constructor({ code, detail }) {
    super(detail);
    this.code = code;
  }
}

function whyNot(error, mode) {
  if (mode === "video") {
    const detail = error instanceof NotPlayable ? "MP4 (H.264) and WebM work in most browsers." : error.message;
    return ["This browser cannot play the file.", detail];
  }
  return {
    NotAllowedError: ["The webcam is blocked.", "Allow the camera for this page in the browser's address bar, then try again."],
    NotFoundError: ["No webcam was found.", "Plug one in, or choose a photo or video."],
    NotReadableError: ["The webcam is in use.", "Close the program that uses it, then try again."],
    NotSupportedError: ["The browser gives no webcam to this page.", "It needs https, or an address on this computer."],
  }[error.name] ?? ["The webcam could not be opened.", error.message];
}

function begin(source) {
  end();
  tell(null);
  run = {
    picture: null, size: null, answer: null, chosen: null, trips: [], times: [], skipped: 0,
    seen: new Map(), mirrored: source.mode === "webcam" && $("mirror").checked, ...source,
  };
  stage.dataset.mode = run.mode;
  for (const name of ["state", "seq", "tracks", "connection", "resumes"]) delete stage.dataset[name];
  arrange();
  $("cut").disabled = true;
  $("connection").textContent = "connecting";
  $("log").replaceChildren();
  $("answer").textContent = "";
  pill("idle", run.mode === "photo" ? "asking" : "starting");
  writeSnippet();
  show();
  write();
  return run;
}

function end() {
  if (!run) return;
  run.stop?.();
  run.link?.end();
  run.encoder?.end();
  closeVideo(video);
  run = null;
}

// Which parts of the page there are: an invitation, or a picture and what belongs to its kind.
function arrange() {
  const mode = run?.mode ?? "empty";
  $("empty").hidden = Boolean(run);
  document.querySelector("main").classList.toggle("empty-page", !run);
  for (const id of ["view", "sources", "panel", "code"]) $(id).hidden = !run;
  for (const part of document.querySelectorAll("[data-only]")) {
    part.hidden = ![mode, mode === "photo" ? "" : "stream"].includes(part.dataset.only);
  }
}

function close() {
  const focused = stage.contains(document.activeElement) || $("sources").contains(document.activeElement);
  end();
  busy(null);
  tell(null);
  stage.dataset.mode = "empty";
  arrange();
  requestAnimationFrame(invite);
  write();
  if (focused) $("empty").querySelector("button").focus();
}

// ---- a stream's frames and answers

async function frame(mine) {
  if (mine !== run) return;
  if (!mine.link?.ready) {
    const live = mine.copies.take(video);
    showPicture(mine, live, { width: live.width, height: live.height }, null);
  } else if (!mine.encoding && mine.link.room) {
    mine.encoding = true;
    try {
      const picture = mine.copies.take(video);
      mine.link.send(await mine.encoder.encode(picture), picture);
    } finally {
      mine.encoding = false;
    }
  } else {
    mine.skipped += 1;
  }
}

function opened(mine, session) {
  if (mine !== run) return;
  busy(null);
  tell(null);
  mine.link.tell(smoothing());
  stage.dataset.connection = "open";
  stage.dataset.resumes = mine.link.resumes;
  $("cut").disabled = false;
  $("connection").textContent = mine.link.resumes ? `open, resumed ${mine.link.resumes}×` : "open";
  mine.resuming = session.state === "resumed";
  if (mine.resuming) note(`Resumed at frame ${session.seq}`);
  else note(session.state === "expired" ? "Connected, as a new session: the old one had expired" : "Connected");
  checkHealth();
}

function away(mine, reason, delay) {
  if (mine !== run) return;
  if (stage.dataset.connection !== "away") {
    note({ cut: "Connection cut", restart: "The service asks to reconnect", lost: "Connection lost" }[reason]);
    checkHealth();
  }
  stage.dataset.connection = "away";
  $("cut").disabled = true;
  $("connection").textContent = delay < 50 ? "reconnecting" : `next try in ${(delay / 1000).toFixed(1)} s`;
  mine.trips = [];
  mine.times = [];
  pill("offline", "reconnecting");
  busy("Reconnecting…");
}

function answered(mine, answer, picture, trip) {
  if (mine !== run) return;
  const now = performance.now();
  mine.times = [...mine.times.filter((t) => now - t < WINDOW_MS), now];
  mine.trips = [...mine.trips.slice(-14), trip];
  if (answer.state === "resumed") mine.resumedAt = now;
  const resumed = answer.faces.length && now - (mine.resumedAt ?? -RESUMED_MS) < RESUMED_MS;
  const word = resumed ? "resumed" : answer.state;
  pill(word, word === "lost" ? "no face" : word);
  stage.dataset.state = answer.state;
  stage.dataset.seq = answer.seq;
  stage.dataset.tracks = answer.faces.map((face) => face.track_id).join(" ");
  noteFaces(mine, answer, now);
  showPicture(mine, picture, answer.image, answer);
}

// Who came and who went; a face must be away for a while to be worth a line.
function noteFaces(mine, answer, now) {
  for (const { track_id: id } of answer.faces) {
    if (!mine.seen.has(id)) note(`Face ${id} found`);
    else if (mine.resuming) note(`Face ${id} goes on`);
    mine.seen.set(id, now);
  }
  if (answer.faces.length) mine.resuming = false;
  for (const [id, last] of mine.seen) {
    if (now - last > SETTLED_MS) {
      mine.seen.delete(id);
      note(`Face ${id} lost`);
    }
  }
}

// ---- showing

function showPicture(mine, picture, size, answer) {
  mine.picture = picture;
  mine.size = size;
  mine.answer = answer;
  show();
  writeSoon();
}

function show() {
  if (!run?.picture) {
    drawHead($("head"), STRAIGHT, { axes: false, faint: true });
    return;
  }
  const ratio = Math.min(1.9, Math.max(0.8, run.size.width / run.size.height));
  stage.style.setProperty("--ratio", ratio.toFixed(4));
  const view = drawPicture($("view"), run.picture, run.size, run.mirrored);
  const faces = run.answer?.faces ?? [];
  const chosen = chosenFace(faces);
  if (view) drawFaces(view, faces, chosen);
  const options = { mirrored: run.mirrored, axes: Boolean(chosen), faint: !chosen };
  drawHead($("head"), chosen?.pose?.rotation ?? STRAIGHT, options);
  gauges(chosen);
}

const keyOf = (face, index) => face.track_id ?? index + 1;

function chosenFace(faces) {
  return faces.find((face, index) => keyOf(face, index) === run.chosen) ?? faces[0] ?? null;
}

function gauges(face) {
  for (const angle of ["yaw", "pitch", "roll"]) {
    const value = face?.pose?.[angle];
    const part = Math.min(50, (50 * Math.abs(value ?? 0)) / 60);
    const mark = $(`${angle}-mark`);
    mark.style.width = `${part}%`;
    mark.style.left = `${(value ?? 0) < 0 ? 50 - part : 50}%`;
  }
  $("confidence-mark").style.left = 0;
  $("confidence-mark").style.width = `${100 * (face?.confidence ?? 0)}%`;
}

let writing = null;

function writeSoon() {
  writing ??= setTimeout(() => {
    writing = null;
    write();
  }, TEXT_MS);
}

// Everything that is text, a few times a second.
function write() {
  const faces = run?.answer?.faces ?? [];
  const face = run && chosenFace(faces);
  for (const angle of ["yaw", "pitch", "roll"]) $(angle).textContent = degrees(face?.pose?.[angle]);
  $("confidence").textContent = face ? `${(100 * face.confidence).toFixed(1)} %` : "–";
  const streams = run && run.mode !== "photo";
  $("fps").textContent = streams && run.times.length > 1 ? rate(run.times).toFixed(0) : "–";
  $("trip").textContent = run?.trips.length ? shown(median(run.trips)) : "–";
  $("server").textContent = run?.answer ? shown(total(run.answer.ms)) : "–";
  $("detect").textContent = run?.answer ? shown(run.answer.ms.detect) : "–";
  $("inference").textContent = run?.answer ? shown(run.answer.ms.inference) : "–";
  $("dropped").textContent = streams ? String(run.skipped + (run.link?.dropped ?? 0)) : "–";
  $("view").setAttribute("aria-label", describe(faces));
  chips(faces);
  const selection = document.getSelection();
  const reading = !selection.isCollapsed && $("answer").contains(selection.anchorNode);
  if (run?.answer && !reading) $("answer").textContent = readable(run.answer);
  if (run?.mode === "video" && document.activeElement !== $("seek")) {
    $("seek").value = video.duration ? video.currentTime / video.duration : 0;
  }
}

const degrees = (value) => (value === undefined ? "–" : `${value.toFixed(1).replace("-", "−")}°`);
const shown = (ms) => (ms < 10 ? ms.toFixed(1) : ms.toFixed(0));
const total = (ms) => ms.decode + ms.detect + ms.queue + ms.inference;
const rate = (times) => (1000 * (times.length - 1)) / (times.at(-1) - times[0]);
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function describe(faces) {
  if (!run) return "No picture yet";
  const what = { photo: "Photo", video: "Video", webcam: "Webcam picture" }[run.mode];
  if (!run.answer) return what;
  return faces.length ? `${what} with ${faces.map(nameOf).join(", ")}` : `${what}, no face found`;
}

function chips(faces) {
  const keys = faces.length > 1 ? faces.map(keyOf) : [];
  const box = $("faces");
  if (box.dataset.keys !== keys.join(" ")) {
    box.dataset.keys = keys.join(" ");
    box.replaceChildren(...keys.map(chip));
  }
  const chosen = faces.indexOf(run && chosenFace(faces));
  [...box.children].forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
}

function chip(key) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = key;
  button.setAttribute("aria-label", `Face ${key}`);
  button.onclick = () => {
    run.chosen = key;
    show();
    write();
  };
  return button;
}

function pill(state, text) {
  const element = $("pill");
  if (element.dataset.state === state && element.textContent === text) return;
  element.dataset.state = state;
  element.textContent = text;
}

function note(text) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { hour12: false });
  line.append(time, text);
  $("log").append(line);
  while ($("log").children.length > LOG_LINES) $("log").firstChild.remove();
}

function busy(text) {
  $("busy").hidden = !text;
  if (text) $("busy-text").textContent = text;
}

function tell(title, text = "", action = null) {
  $("notice").hidden = !title;
  $("notice-title").textContent = title ?? "";
  $("notice-text").textContent = text;
  $("notice-action").hidden = !action;
  if (action) [$("notice-action").textContent, $("notice-action").onclick] = action;
}

// ---- key

function askForKey(then, error = null) {
  again = then;
  busy(null);
  const wrong = error && hasKey();
  forgetKey();
  $("key-text").textContent = wrong
    ? "That key was not accepted. Is it complete, and for this service?"
    : "Enter an API key. It stays in this tab and is sent to this service only.";
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value.trim());
  $("key").value = "";
  $("key-dialog").close();
  writeSnippet();
  tell(null);
  again?.();
  again = null;
});
$("key-cancel").onclick = () => $("key-dialog").close();
$("key-dialog").addEventListener("close", () => {
  if (again) tell("The service wants a key.", "", ["Enter it", () => askForKey(again ?? (() => {}))]);
});

// ---- snippets

const LANGUAGES = ["curl", "python", "javascript", "answer"];
let language = "curl";

function writeSnippet() {
  $("snippet").textContent = run ? snippets(run)[language === "answer" ? "curl" : language] : "";
}

function choose(name) {
  language = name;
  for (const each of LANGUAGES) {
    $(`tab-${each}`).setAttribute("aria-selected", each === name);
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
  $("snippet").hidden = name === "answer";
  $("answer").hidden = name !== "answer";
  if (name !== "answer") $("snippet").setAttribute("aria-labelledby", `tab-${name}`);
  writeSnippet();
}

LANGUAGES.forEach((name, index) => {
  $(`tab-${name}`).onclick = () => choose(name);
  $(`tab-${name}`).onkeydown = ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = LANGUAGES[(index + step + LANGUAGES.length) % LANGUAGES.length];
    choose(next);
    $(`tab-${next}`).focus();
  };
});

$("copy").onclick = async () => {
  const text = $(language === "answer" ? "answer" : "snippet").textContent;
  try {
    await navigator.clipboard.writeText(text);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Select and copy by hand";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 1600);
};

// ---- controls

const actions = {
  webcam: () => openStream("webcam"),
  choose: () => $("file").click(),
  example: async () => {
    const answer = await fetch("web/example.jpg").catch(() => null);
    if (!answer?.ok) return tell(...explained({ code: "gone" }));
    return open(new File([await answer.blob()], "example.jpg", { type: "image/jpeg" }));
  },
  close,
};
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => actions[button.dataset.do]());
}
$("file").onchange = () => {
  if ($("file").files[0]) open($("file").files[0]);
  $("file").value = "";
};
$("cut").onclick = () => run?.link?.cut();
$("notice-close").onclick = () => tell(null);
$("mirror").onchange = () => {
  if (run) run.mirrored = $("mirror").checked;
  show();
};
const smoothing = () => ({ type: "config", smoothing: $("smooth").checked });
$("smooth").onchange = () => run?.link?.tell(smoothing());
$("play").onclick = () => (video.paused ? video.play() : video.pause());
video.onplay = video.onpause = () => {
  $("play").textContent = video.paused ? "Play" : "Pause";
  $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
};
$("seek").oninput = () => {
  if (video.duration) video.currentTime = $("seek").value * video.duration;
};

let depth = 0; // dragging over a child leaves its parent
const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => {
  if (carriesFile(event)) stage.classList.toggle("dropping", (depth += 1) > 0);
});
addEventListener("dragleave", (event) => {
  if (carriesFile(event)) stage.classList.toggle("dropping", (depth -= 1) > 0);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  stage.classList.remove("dropping");
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData?.files[0]) open(clipboardData.files[0]);
});
new ResizeObserver(() => redraw()).observe(stage);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());

function redraw() {
  if (run) show();
  else if (calm.matches) invite(0);
}

// ---- the service, and the head that invites

async function checkHealth() {
  const told = await health();
  const state = told ? told.status : "gone";
  $("service").dataset.health = state;
  $("service-text").textContent = told
    ? `${state === "ready" ? "Ready" : "Restarting"} · ${told.model} · ${told.provider.replace("ExecutionProvider", "")}`
    : "The service does not answer";
}

// Turns as long as nothing else is shown.
function invite(time) {
  if (run) return;
  const t = calm.matches ? 0.9 : time / 1000;
  drawHead($("portrait"), rotationOf(28 * Math.sin(t * 0.55), 7 * Math.sin(t * 0.4 + 1)), { axes: false });
  if (!calm.matches) requestAnimationFrame(invite);
}

arrange();
checkHealth();
setInterval(() => document.hidden || checkHealth(), HEALTH_MS);
requestAnimationFrame(invite);
show();
if (await wantsKey()) askForKey(() => {});

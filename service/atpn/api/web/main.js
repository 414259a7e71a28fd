// The page begins here: what the buttons do.

import { $, stage, video } from "./dom.js";
import { takeFiles } from "./drop.js";
import { tell } from "./messages.js";
import { Page } from "./page.js";
import { openPhoto } from "./photo.js";
import { explained, wantsKey } from "./service.js";
import { openVideoStream, openWebcamStream } from "./followed.js";

const page = new Page();

function open(file) {
  return file.type.startsWith("video/") ? openVideoStream(page, file) : openPhoto(page, file);
}

async function openExample() {
  const answer = await fetch("web/example.jpg").catch(() => null);
  if (!answer?.ok) return tell(...explained({ code: "connection_failed" }));
  // The snippets name the file: a reader has no copy of the example.
  return open(new File([await answer.blob()], "your-photo.jpg", { type: "image/jpeg" }));
}

const actions = {
  webcam: () => openWebcamStream(page),
  choose: () => $("file").click(),
  example: openExample,
  close: () => page.close(),
};
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => actions[button.dataset.do]());
}
$("file").onchange = () => {
  if ($("file").files[0]) open($("file").files[0]);
  $("file").value = "";
};
takeFiles(open);

$("notice-close").onclick = () => tell(null);
$("mirror").onchange = () => page.mirror($("mirror").checked);
$("smooth").onchange = () => page.source?.configure?.();
$("cut").onclick = () => page.source?.cut?.();
$("play").onclick = () => (video.paused ? video.play() : video.pause());
video.onplay = video.onpause = () => {
  $("play").textContent = video.paused ? "Play" : "Pause";
  $("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
};
$("seek").oninput = () => {
  if (video.duration) video.currentTime = $("seek").value * video.duration;
};
$("seek").onpointerdown = () => { page.seeking = true; };
for (const released of ["pointerup", "pointercancel"]) {
  window.addEventListener(released, () => { page.seeking = false; });
}
new ResizeObserver(() => page.redraw()).observe(stage);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.redraw());

page.arrange();
page.show();
if (await wantsKey()) page.key.ask(() => {});

// What is shown: an invitation, or the source that is open with its picture and measurements.

import { drawFaces, drawPicture, nameOf } from "./atpn/drawing.js";
import { $, stage, video } from "./dom.js";
import { STRAIGHT, drawHead } from "./head.js";
import { Health } from "./health.js";
import { KeyDialog } from "./key.js";
import { writeChips, writeMeasures } from "./measures.js";
import { busy, pill, tell } from "./messages.js";
import { Portrait } from "./portrait.js";
import { SnippetTabs } from "./snippet_tabs.js";
import { readable } from "./snippets.js";

const MEASURES_MS = 125; // figures are read, not watched; a blink is hardly shorter
const RATIOS = { narrowest: 0.8, widest: 1.9 };
const KINDS = { photo: "Photo", video: "Video", webcam: "Webcam picture" };

export class Page {
  constructor() {
    this.source = null; // what is open
    this.seeking = false; // somebody holds the slider of the video
    this.health = new Health();
    this.tabs = new SnippetTabs();
    this.key = new KeyDialog(() => this.tabs.write(this.source));
    this._portrait = new Portrait($("portrait"));
    this._writing = null;
  }

  // Show another source; the one before is ended.
  begin(source) {
    const focused = $("empty").contains(document.activeElement);
    this.source?.end();
    tell(null);
    this.source = source;
    stage.dataset.mode = source.mode;
    for (const name of ["state", "seq", "tracks", "connection", "resumes"]) delete stage.dataset[name];
    this.arrange();
    if (focused) $("sources").focus();
    $("cut").disabled = true;
    $("connection").textContent = "connecting";
    $("log").replaceChildren();
    $("answer").textContent = "";
    pill("idle", source.mode === "photo" ? "asking" : "starting");
    this.tabs.write(source);
    this.show();
    this.write();
  }

  // Back to the invitation.
  close() {
    const focused = stage.contains(document.activeElement) || $("sources").contains(document.activeElement);
    this.source?.end();
    this.source = null;
    busy(null);
    tell(null);
    stage.dataset.mode = "empty";
    this.arrange();
    this.write();
    if (focused) $("empty").querySelector("button").focus();
  }

  // Which parts of the page there are: an invitation, or a picture and what belongs to its kind.
  arrange() {
    const mode = this.source?.mode ?? "empty";
    const empty = !this.source;
    $("empty").hidden = !empty;
    $("main").classList.toggle("empty-page", empty);
    for (const id of ["view", "sources", "panel", "code"]) $(id).hidden = empty;
    for (const part of document.querySelectorAll("[data-only]")) {
      part.hidden = ![mode, mode === "photo" ? "" : "stream"].includes(part.dataset.only);
    }
    if (empty) this._portrait.start();
    else this._portrait.stop();
  }

  redraw() {
    if (this.source) this.show();
    else this._portrait.redraw();
  }

  show() {
    const { source } = this;
    if (!source?.picture) {
      drawHead($("head"), STRAIGHT, { axes: false, faint: true });
      return;
    }
    const { chosen, faces, mirrored, picture, size } = source;
    const ratio = Math.min(RATIOS.widest, Math.max(RATIOS.narrowest, size.width / size.height));
    stage.style.setProperty("--ratio", ratio.toFixed(4));
    const view = drawPicture($("view"), picture, size, mirrored);
    if (view) drawFaces(view, faces, chosen);
    drawHead($("head"), chosen?.pose?.rotation ?? STRAIGHT, { mirrored, axes: Boolean(chosen), faint: !chosen });
  }

  writeSoon() {
    this._writing ??= setTimeout(() => {
      this._writing = null;
      this.write();
    }, MEASURES_MS);
  }

  // Everything that is text, and the gauges, a few times a second.
  write() {
    const { source } = this;
    writeMeasures(source);
    writeChips(source, (key) => this.choose(key));
    $("view").setAttribute("aria-label", described(source));
    const selection = document.getSelection();
    const reading = !selection.isCollapsed && $("answer").contains(selection.anchorNode);
    if (source?.answer && !reading) $("answer").textContent = readable(source.answer);
    if (source?.mode === "video" && !this.seeking) {
      $("seek").value = video.duration ? video.currentTime / video.duration : 0;
    }
  }

  choose(key) {
    if (this.source) this.source.chosenKey = key;
    this.show();
    this.write();
  }

  mirror(mirrored) {
    if (this.source) this.source.mirrored = mirrored;
    this.show();
    this.write();
  }
}

function described(source) {
  if (!source) return "No picture yet";
  const what = KINDS[source.mode];
  if (!source.answer) return what;
  return source.faces.length ? `${what} with ${source.faces.map(nameOf).join(", ")}` : `${what}, no face found`;
}

// "Do it yourself": what the page just did, in several languages, and the service's answer.

import { $ } from "./dom.js";
import { snippets } from "./snippets.js";

const TABS = ["curl", "python", "javascript", "answer"];
const COPIED_MS = 1600;

export class SnippetTabs {
  constructor() {
    this._tab = "curl";
    this._source = null;
    TABS.forEach((name, index) => {
      $(`tab-${name}`).onclick = () => this._choose(name);
      $(`tab-${name}`).onkeydown = ({ key }) => this._step(index, { ArrowRight: 1, ArrowLeft: -1 }[key]);
    });
    $("copy").onclick = () => this._copy();
  }

  // `source` is {mode, name, type}, or null.
  write(source) {
    this._source = source;
    const language = this._tab === "answer" ? "curl" : this._tab;
    $("snippet").textContent = source ? snippets(source)[language] : "";
  }

  _choose(chosen) {
    this._tab = chosen;
    for (const name of TABS) {
      $(`tab-${name}`).setAttribute("aria-selected", name === chosen);
      $(`tab-${name}`).tabIndex = name === chosen ? 0 : -1;
    }
    $("snippet").hidden = chosen === "answer";
    $("answer").hidden = chosen !== "answer";
    if (chosen !== "answer") $("snippet").setAttribute("aria-labelledby", `tab-${chosen}`);
    this.write(this._source);
  }

  _step(index, step) {
    if (!step) return;
    const next = TABS[(index + step + TABS.length) % TABS.length];
    this._choose(next);
    $(`tab-${next}`).focus();
  }

  async _copy() {
    try {
      await navigator.clipboard.writeText($(this._tab === "answer" ? "answer" : "snippet").textContent);
      $("copy").textContent = "Copied";
    } catch {
      $("copy").textContent = "Select and copy by hand";
    }
    setTimeout(() => ($("copy").textContent = "Copy"), COPIED_MS);
  }
}

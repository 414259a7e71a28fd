// Who answers, in the page's corner: asked for now and then.

import { $ } from "./dom.js";
import { readiness } from "./service.js";

const EVERY_MS = 5000;

export class Health {
  constructor() {
    this.check();
    setInterval(() => document.hidden || this.check(), EVERY_MS);
  }

  async check() {
    const told = await readiness();
    $("service").dataset.health = told ? told.status : "gone";
    $("service-text").textContent = told ? described(told) : "The service does not answer";
  }
}

function described({ status, model, provider }) {
  const word = status === "ready" ? "Ready" : "Restarting";
  return `${word} · ${model} · ${provider.replace("ExecutionProvider", "")}`;
}

// The dialog that asks for an API key, and what is done once one was given.

import { $ } from "./dom.js";
import { busy, tell } from "./messages.js";
import { forgetKey, hasKey, setKey } from "./service.js";

const INVITATION = "Enter an API key. It stays in this tab and is sent to this service only.";
const IMPOSSIBLE = "That cannot be a key: keys have letters, digits and signs of ASCII alone.";
const REFUSAL = "That key was not accepted. Is it complete, and for this service?";

export class KeyDialog {
  // `onChange` is called when there is another key.
  constructor(onChange) {
    this._onChange = onChange;
    this._then = null;
    $("key-form").addEventListener("submit", (event) => this._given(event));
    $("key-cancel").onclick = () => $("key-dialog").close();
    $("key-dialog").addEventListener("close", () => this._closed());
  }

  // Ask for a key, then go on with `then`.
  ask(then, text = INVITATION) {
    this._then = then;
    busy(null);
    forgetKey();
    $("key-text").textContent = text;
    if (!$("key-dialog").open) $("key-dialog").showModal();
  }

  // The service refused: for want of a key, or because of a wrong one.
  refused(then) {
    this.ask(then, hasKey() ? REFUSAL : INVITATION);
  }

  _given(event) {
    event.preventDefault();
    try {
      setKey($("key").value.trim());
    } catch {
      $("key-text").textContent = IMPOSSIBLE;
      return;
    } finally {
      $("key").value = "";
    }
    const then = this._then;
    this._then = null;
    $("key-dialog").close();
    this._onChange();
    tell(null);
    then();
  }

  _closed() {
    const then = this._then;
    if (then) tell("The service wants a key.", "", ["Enter it", () => this.ask(then)]);
  }
}

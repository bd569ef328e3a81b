// The section of the page that asks for an API key.

import { byId } from "./element.js";

export class KeyForm {
  #action = () => {};

  /** `onKey` is called with each key that is entered. */
  constructor(onKey) {
    byId("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      byId("key-text").textContent = "The page uses this key until you leave or reload it.";
      onKey(byId("key").value);
      this.#action();
    });
  }

  /** Ask for a key; the action is what needs it. */
  ask(action) {
    this.#action = action;
    byId("key-section").hidden = false;
    byId("key-text").textContent = "";
    byId("key").focus();
  }

  /** The key is valid. */
  close() {
    byId("key-section").hidden = true;
  }
}

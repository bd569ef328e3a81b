// The section of the page in which a case is chosen: files, their roles, and what is missing.

import { CaseError, checkCase, openCase } from "./case.js";
import { filesOfDrop } from "./chosen_files.js";
import { byId, element } from "./element.js";
import { ROLES } from "./roles.js";

const NOT_USED = "not used";

export class ChosenCase {
  maxBytes = Infinity;
  #chosen = null;
  #choices = 0; // how often something was chosen
  #isBusy = false;
  #events;

  /** `events`: fetchPhantom() returns a zip, onSend(case, options) and onProblem(error) are called. */
  constructor(events) {
    this.#events = events;
    for (const id of ["files", "folder"]) byId(id).addEventListener("change", (event) => this.#pick(event.target));
    for (const id of ["allow-missing", "trust-names"]) byId(id).addEventListener("change", () => this.#change());
    byId("phantom").addEventListener("click", () => this.#tryPhantom());
    byId("send").addEventListener("click", () => this.#send());
    this.#acceptDrops();
  }

  /** Say something about the case. */
  say(text) {
    byId("case-text").textContent = text;
  }

  /** Forget a case, because its result is there. */
  clear(sent) {
    if (this.#chosen !== sent) return;
    this.#chosen = null;
    byId("chosen").hidden = true;
    this.say("");
  }

  /** While a case is being sent or segmented, no other one can be sent. */
  setBusy(isBusy) {
    this.#isBusy = isBusy;
    byId("phantom").disabled = isBusy;
    byId("chosen").hidden = isBusy || !this.#chosen;
    if (isBusy) this.say("");
    else this.#check();
  }

  #acceptDrops() {
    const mark = byId("drop").classList;
    addEventListener("dragover", (event) => {
      event.preventDefault(); // or the browser would leave the page and open the file
      mark.add("over");
    });
    addEventListener("dragleave", () => mark.remove("over"));
    addEventListener("drop", async (event) => {
      event.preventDefault();
      mark.remove("over");
      await this.#open(await filesOfDrop(event.dataTransfer));
    });
  }

  async #pick(input) {
    const files = [...input.files];
    input.value = ""; // so that choosing the same file again is noticed
    if (files.length) await this.#open(files);
  }

  async #tryPhantom() {
    this.say("The service is making the synthetic case.");
    byId("phantom").disabled = true;
    const choice = (this.#choices += 1);
    try {
      const zip = await this.#events.fetchPhantom();
      if (choice !== this.#choices) return; // a case was chosen meanwhile
      await this.#open([new File([zip], "the synthetic case.zip")]);
      this.#send();
    } catch (error) {
      this.say("");
      this.#events.onProblem(error, () => this.#tryPhantom());
    } finally {
      byId("phantom").disabled = this.#isBusy;
    }
  }

  async #open(files) {
    this.#choices += 1;
    this.#chosen = null;
    byId("problem").hidden = true;
    byId("allow-missing").checked = byId("trust-names").checked = false;
    this.say("Reading the files.");
    try {
      this.#chosen = await openCase(files);
      this.#showRoles();
      this.#check();
    } catch (error) {
      if (!(error instanceof CaseError)) this.#events.onProblem(error);
      this.say(error.message);
    }
    byId("chosen").hidden = !this.#chosen;
  }

  #showRoles() {
    const { items, kind } = this.#chosen;
    byId("roles").hidden = byId("roles-note").hidden = !items.length;
    byId("zip-note").hidden = kind !== "zip";
    byId("roles").tBodies[0].replaceChildren(...items.map((item) => this.#roleRow(item)));
  }

  #roleRow(item) {
    const options = ["", ...ROLES].map((role) => element("option", { value: role }, role || NOT_USED));
    const select = element("select", { "aria-label": `What ${item.name} is` }, ...options);
    select.value = item.role;
    select.addEventListener("change", () => {
      item.role = select.value;
      this.#change();
    });
    return element("tr", {}, element("th", { scope: "row" }, item.name), element("td", {}, select));
  }

  /** A case that was changed is another one for the service. */
  #change() {
    this.#chosen.idempotencyKey = null;
    this.#check();
  }

  #check() {
    if (!this.#chosen) return;
    const { ready, message, missing } = checkCase(this.#chosen, byId("allow-missing").checked);
    byId("missing").hidden = missing?.length === 0; // of a study it is not known
    const isTooLarge = this.#chosen.bytes > this.maxBytes;
    byId("send").disabled = this.#isBusy || !ready || isTooLarge;
    if (this.#isBusy) this.say(`${message} It can be sent when the current case has ended.`);
    else this.say(isTooLarge ? `Too large: the service takes ${this.maxBytes / 2 ** 20} MiB at most.` : message);
  }

  #send() {
    const options = { allowMissing: byId("allow-missing").checked, trustNames: byId("trust-names").checked };
    this.#events.onSend(this.#chosen, options);
  }
}

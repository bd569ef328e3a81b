// Requests to the service. The API key is kept in this object only, and sent as a header.

import { connectionProblem, parseProblem } from "./problems.js";

export class Service {
  key = "";

  get #authorisation() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  /** A successful response. Throws ServiceProblem, or AbortError if the signal is aborted. */
  async request(path, { method = "GET", headers = {}, signal } = {}) {
    let response;
    try {
      response = await fetch(path, { method, signal, headers: { ...this.#authorisation, ...headers } });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw connectionProblem();
    }
    if (!response.ok) throw parseProblem(response.status, await response.text(), response.headers.get("Retry-After"));
    return response;
  }

  /** Send a form as a job and return its status. fetch reports no progress of an upload, XMLHttpRequest does. */
  submit(path, form, { idempotencyKey, onProgress, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      let isSent = false;
      request.open("POST", path);
      const headers = { ...this.#authorisation, Prefer: "respond-async", "Idempotency-Key": idempotencyKey };
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
      request.upload.onload = () => (isSent = true);
      request.onload = () => resolveWith(request, resolve, reject);
      request.onerror = () => reject(connectionProblem());
      request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
      // A case that has been sent becomes a job; whoever cancels waits for its id, and removes it.
      signal.addEventListener("abort", () => isSent || request.abort());
      request.send(form);
    });
  }
}

function resolveWith(request, resolve, reject) {
  if (request.status === 202) resolve(JSON.parse(request.responseText));
  else reject(parseProblem(request.status, request.responseText, request.getResponseHeader("Retry-After")));
}

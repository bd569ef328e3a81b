// Problems (RFC 9457): what the service could not do, in its words, and what the reader can do about it.

const TYPE_PREFIX = "urn:glioserve:problem:";

// What to do, where the detail of the problem does not say it; docs/errors.md has the whole list.
const ADVICE = {
  "broken-archive": "Zip the case again, without a password.",
  "malformed-image": "Export that image again as one .nii or .nii.gz file.",
  "malformed-upload": "Choose the files again.",
  unauthenticated: "Enter an API key; the administrator of the service creates it.",
  forbidden: "Ask the administrator of the service for a key with this permission.",
  "job-not-found": "Send the case again: results are kept for a limited time, and only for the key that sent them.",
  "stalled-upload": "Send it again over a better connection.",
  "too-large": "Send only the images of one case.",
  modalities:
    "Check what each file is. If the names are right, tick “Segment even if an image looks like another modality”.",
  geometry: "Correct or leave out the image that the message names.",
  intensities: "Check that image; its conversion probably failed.",
  labels: "Leave out the ground truth, or convert its labels.",
  preparation: "Check that T1Gd shows a head, or add a brain mask.",
  "queue-full": "Your files are kept here: send the case again in a while.",
  "rate-limited": "Your files are kept here: send the case again in a while.",
  "not-ready": "The service is starting or stopping: send the case again in a while.",
  "spool-full": "Ask the administrator of the service to free disk space.",
  crash: "Export the case to NIfTI again, and tell the administrator of the service.",
  "lost-file": "Send the case again.",
  connection: "Reload the page when the service runs again.",
  internal: "Send the case again; if that fails too, tell the administrator of the service.",
};

/** A problem that a request met. */
export class ServiceProblem extends Error {
  constructor(problem, retryAfterS = null) {
    super(problem.detail);
    this.name = "ServiceProblem";
    this.slug = (problem.type ?? "").replace(TYPE_PREFIX, "");
    this.title = problem.title;
    this.retryAfterS = retryAfterS;
  }
}

/** The problem in the body of a response that is not a success; any other body becomes one. */
export function parseProblem(status, text, retryAfter) {
  const retryAfterS = retryAfter ? Number(retryAfter) : null;
  try {
    return new ServiceProblem(JSON.parse(text), retryAfterS);
  } catch {
    return new ServiceProblem({ title: `The service responded with status ${status}`, detail: "" }, retryAfterS);
  }
}

/** A problem as title, detail and advice. */
export function describeProblem(error) {
  if (!(error instanceof ServiceProblem)) {
    return { title: "The page failed", detail: String(error?.message ?? error), advice: "Reload the page." };
  }
  const wait = error.retryAfterS ? ` The service suggests waiting ${formatSeconds(error.retryAfterS)}.` : "";
  return { title: error.title, detail: error.message, advice: (ADVICE[error.slug] ?? "") + wait };
}

/** The problem of a connection that could not be made or broke. */
export function connectionProblem() {
  return new ServiceProblem({
    title: "No connection",
    detail: "The service cannot be reached.",
    type: "connection",
  });
}

/** A duration in words. */
export function formatSeconds(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 90) return whole === 1 ? "1 second" : `${whole} seconds`;
  return `${Math.round(whole / 60)} minutes`;
}

// The page: what happens when something is chosen, sent, cancelled or opened by a link.

import { ChosenCase } from "./chosen_case.js";
import { download } from "./download.js";
import { byId } from "./element.js";
import { Images } from "./images.js";
import { KeyForm } from "./key_form.js";
import { describeStatus, followJob, hasEnded, repeat } from "./job.js";
import { ServiceProblem, describeProblem } from "./problems.js";
import { renderReport } from "./report.js";
import { fetchResult } from "./result.js";
import { Service } from "./service.js";
import { formOf, newIdempotencyKey, pathOf } from "./submission.js";

const JOB_LINK = /^#job=([\w-]+)$/;

const service = new Service();
const images = new Images();
let result = null;
let work = null; // AbortController of the job that the page works on
let jobId = null;
let isSending = false;

const keyForm = new KeyForm((key) => {
  service.key = key;
  byId("problem").hidden = true;
});
const chosenCase = new ChosenCase({ fetchPhantom, onSend: send, onProblem: fail });

function showProblem(error) {
  const { title, detail, advice } = describeProblem(error);
  byId("problem-title").textContent = title;
  byId("problem-detail").textContent = detail;
  byId("problem-advice").textContent = advice;
  byId("problem").hidden = false;
  byId("problem").scrollIntoView({ block: "nearest" });
}

/** Show why something failed; if a key was missing, do it again with the key. */
function fail(error, again) {
  showProblem(error);
  if (error.slug === "unauthenticated") keyForm.ask(again);
}

function showStatus(text, fraction) {
  byId("job-text").textContent = text;
  byId("progress").hidden = fraction === undefined;
  if (fraction === null) byId("progress").removeAttribute("value");
  else if (fraction !== undefined) byId("progress").value = fraction;
}

/** Begin to work on a job: end the one before, and hide what it left. Returns the signal that cancels it. */
function begin() {
  work?.abort();
  work = new AbortController();
  images.close();
  result = null;
  jobId = null;
  for (const id of ["problem", "result", "job-link"]) byId(id).hidden = true;
  byId("expiry").textContent = "";
  byId("job").hidden = false;
  byId("cancel").textContent = "Cancel";
  byId("job-title").focus(); // the button that had the focus may be disabled now
  chosenCase.setBusy(true);
  return work.signal;
}

/** Run an action on a job, and show why it failed. */
async function runJob(action) {
  const signal = begin();
  try {
    await action(signal);
    if (signal === work.signal) chosenCase.setBusy(false);
  } catch (error) {
    if (signal.aborted) return;
    byId("job").hidden = true;
    jobId = null;
    chosenCase.setBusy(false);
    fail(error, () => runJob(action));
  }
}

async function fetchPhantom() {
  return (await service.request("page/phantom.zip")).blob();
}

function send(chosen, options) {
  // One key until the service has accepted the case: if its response was lost, the next attempt finds the same job.
  chosen.idempotencyKey ??= newIdempotencyKey();
  return runJob(async (signal) => {
    showStatus("Reading the files", null);
    const form = await formOf(chosen);
    signal.throwIfAborted();
    const onProgress = (sent, total) =>
      showStatus(sent < total ? `Sending: ${Math.floor((100 * sent) / total)} %` : "Sent; the service is storing it", sent / total);
    const { idempotencyKey } = chosen;
    signal.addEventListener("abort", () => (chosen.idempotencyKey = null)); // whatever is sent next is another job
    isSending = true;
    const submission = service.submit(pathOf(options), form, { idempotencyKey, onProgress, signal });
    const status = await submission.finally(() => (isSending = false));
    chosen.idempotencyKey = null;
    if (signal.aborted) return removeJob(status.id);
    history.pushState(null, "", `#job=${status.id}`); // so that Back finds the job before it again
    await openJob(status.id, signal, chosen.name);
    chosenCase.clear(chosen);
  });
}

async function openJob(id, signal, name = `job ${id}`) {
  jobId = id;
  byId("result-title").textContent = `Result of ${name}`;
  byId("job-link").href = `#job=${id}`;
  byId("job-link").hidden = false;
  showStatus("Looking for the job", null);
  images.prepare();
  const onRetry = () => showStatus("The service does not answer; trying again", null);
  for await (const status of followJob(service, id, signal, onRetry)) {
    keyForm.close();
    const { text, fraction } = describeStatus(status);
    showStatus(text, fraction);
    if (!hasEnded(status)) continue;
    if (status.problem) history.replaceState(null, "", location.pathname); // nothing to come back to
    if (status.problem) throw new ServiceProblem(status.problem);
    byId("expiry").textContent = `The link works until ${new Date(status.expires).toLocaleString("en-GB")}.`;
  }
  showStatus("Fetching the result", null);
  await showResult(await repeat(() => fetchResult(service, id), signal, onRetry), signal);
  showStatus("Done");
  byId("cancel").textContent = "Delete the result";
}

async function showResult(fetched, signal) {
  signal.throwIfAborted();
  result = fetched;
  byId("report").replaceChildren(...renderReport(result.report));
  byId("result").hidden = false;
  byId("images").hidden = byId("save-picture").hidden = false;
  byId("images-text").textContent = "";
  try {
    await images.open(result);
  } catch (error) {
    signal.throwIfAborted();
    byId("images").hidden = byId("save-picture").hidden = true;
    byId("images-text").textContent = `The images cannot be shown here (${error.message}). The files can be saved.`;
  }
  byId("result-title").focus({ preventScroll: true });
  byId("result").scrollIntoView();
}

async function removeJob(id) {
  try {
    await service.request(`jobs/${id}`, { method: "DELETE" });
    chosenCase.say("The service has removed the case and its result.");
  } catch (error) {
    if (error.slug === "job-not-found") chosenCase.say("The service has already removed the case and its result.");
    else showProblem(error);
  }
}

/** Cancel what is going on, or delete the result. */
async function cancel() {
  if (result && !confirm("Delete this result from the service?")) return;
  work.abort();
  images.close();
  byId("job").hidden = byId("result").hidden = true;
  chosenCase.setBusy(false);
  chosenCase.say("Cancelled.");
  if (!jobId) return;
  history.replaceState(null, "", location.pathname);
  const id = jobId;
  jobId = null;
  await removeJob(id);
}

function openLink() {
  const id = JOB_LINK.exec(location.hash)?.[1];
  if (id && id !== jobId) return runJob((signal) => openJob(id, signal));
}

byId("cancel").addEventListener("click", cancel);
byId("save-label-map").addEventListener("click", () => download(result.labelMap, "segmentation.nii.gz"));
byId("save-report").addEventListener("click", () => download(result.reportFile, "report.json"));
byId("save-picture").addEventListener("click", async () => download(await images.picture(), "view.png"));
addEventListener("hashchange", openLink);
addEventListener("beforeunload", (event) => isSending && event.preventDefault()); // the browser asks before it leaves

async function start() {
  const settings = await (await service.request("page/settings.json")).json();
  chosenCase.maxBytes = settings.max_upload_mib * 2 ** 20;
  if (settings.key_required) keyForm.ask(openLink);
  else openLink();
}

start().catch(showProblem);

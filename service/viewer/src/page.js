// The page: what happens when something is chosen, sent, cancelled or opened by a link.

import { ChosenCase } from "./chosen_case.js";
import { download } from "./download.js";
import { byId } from "./element.js";
import { Images } from "./images.js";
import { describeStatus, followJob, hasEnded } from "./job.js";
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
let resume = null; // what a missing key prevented

const chosenCase = new ChosenCase({ fetchPhantom, onSend: send, onProblem: showProblem });

function showProblem(error) {
  const { title, detail, advice } = describeProblem(error);
  byId("problem-title").textContent = title;
  byId("problem-detail").textContent = detail;
  byId("problem-advice").textContent = advice;
  byId("problem").hidden = false;
  byId("problem").scrollIntoView({ block: "nearest" });
  if (error instanceof ServiceProblem && error.slug === "unauthenticated") askForKey("");
}

function askForKey(text) {
  byId("key-section").hidden = false;
  byId("key-text").textContent = text;
  byId("key").focus();
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
    chosenCase.clear();
  } catch (error) {
    if (signal.aborted) return;
    byId("job").hidden = true;
    resume = error.slug === "unauthenticated" ? () => runJob(action) : null;
    showProblem(error);
  }
  if (signal === work.signal) chosenCase.setBusy(false);
}

async function fetchPhantom() {
  return (await service.request("page/phantom.zip")).blob();
}

function send(chosen, options) {
  // One key until the service has accepted the case: if its response was lost, the next attempt finds the same job.
  chosen.idempotencyKey ??= newIdempotencyKey();
  return runJob(async (signal) => {
    jobId = null;
    history.replaceState(null, "", location.pathname);
    showStatus("Reading the files", null);
    const form = await formOf(chosen);
    signal.throwIfAborted();
    const onProgress = (sent, total) =>
      showStatus(sent < total ? `Sending: ${Math.floor((100 * sent) / total)} %` : "Sent; being stored", sent / total);
    const { idempotencyKey } = chosen;
    const status = await service.submit(pathOf(options), form, { idempotencyKey, onProgress, signal });
    chosen.idempotencyKey = null;
    if (signal.aborted) {
      await removeJob(status.id);
      return;
    }
    history.replaceState(null, "", `#job=${status.id}`);
    await openJob(status.id, signal);
  });
}

async function openJob(id, signal) {
  jobId = id;
  byId("job-link").href = `#job=${id}`;
  byId("job-link").hidden = false;
  showStatus("Looking for the job", null);
  images.prepare();
  for await (const status of followJob(service, id, signal)) {
    const { text, fraction } = describeStatus(status);
    showStatus(text, fraction);
    if (!hasEnded(status)) continue;
    if (status.problem) throw new ServiceProblem(status.problem);
    byId("expiry").textContent = `It works until ${new Date(status.expires).toLocaleString("en-GB")}.`;
  }
  showStatus("Fetching the result", null);
  await showResult(await fetchResult(service, id), signal);
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
  byId("result-title").focus();
}

async function removeJob(id) {
  try {
    await service.request(`jobs/${id}`, { method: "DELETE" });
    chosenCase.say("The service has removed the case and its result.");
  } catch (error) {
    showProblem(error);
  }
}

/** Cancel what is going on, or delete the result. */
async function cancel() {
  work.abort();
  images.close();
  byId("job").hidden = byId("result").hidden = true;
  chosenCase.setBusy(false);
  chosenCase.say("Cancelled.");
  history.replaceState(null, "", location.pathname);
  if (jobId) await removeJob(jobId);
  jobId = null;
}

function openLink() {
  const id = JOB_LINK.exec(location.hash)?.[1];
  if (id && id !== jobId) return runJob((signal) => openJob(id, signal));
}

function useKey(event) {
  event.preventDefault();
  service.key = byId("key").value.trim();
  byId("problem").hidden = true;
  byId("key-text").textContent = "The key is kept in this page until you leave or reload it.";
  const action = resume;
  resume = null;
  action?.();
}

byId("key-form").addEventListener("submit", useKey);
byId("cancel").addEventListener("click", cancel);
byId("save-label-map").addEventListener("click", () => download(result.labelMap, "segmentation.nii.gz"));
byId("save-report").addEventListener("click", () => download(result.reportFile, "report.json"));
byId("save-picture").addEventListener("click", async () => download(await images.picture(), "view.png"));
addEventListener("hashchange", openLink);

async function start() {
  const settings = await (await service.request("page/settings.json")).json();
  chosenCase.maxBytes = settings.max_upload_mib * 2 ** 20;
  if (!settings.key_required) return openLink();
  resume = openLink;
  askForKey("");
}

start().catch(showProblem);

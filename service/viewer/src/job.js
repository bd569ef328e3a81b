// Following a job until it ends, across broken connections and restarts of the service.

import { readEvents } from "./events.js";
import { ServiceProblem } from "./problems.js";
import { describeStage } from "./stages.js";

const RETRY_MS = 2000;
const MAX_RETRIES = 30;
const RETRIED = ["connection", "not-ready", "rate-limited"];

export const hasEnded = (status) => status.state === "done" || status.state === "failed";

/** The status of a job whenever it changes; the last one has ended. Throws ServiceProblem. */
export async function* followJob(service, id, signal) {
  for (let retries = 0; retries <= MAX_RETRIES; retries += 1) {
    try {
      for await (const status of eventsOf(service, id, signal)) {
        retries = 0;
        yield status;
        if (hasEnded(status)) return;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof ServiceProblem && !RETRIED.includes(error.slug)) throw error;
      if (retries === MAX_RETRIES) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    signal.throwIfAborted();
  }
}

async function* eventsOf(service, id, signal) {
  const response = await service.request(`jobs/${id}/events`, { signal });
  for await (const { event, data } of readEvents(response)) {
    if (event !== "interrupted") yield JSON.parse(data);
  }
}

/** The status of a job as {text, fraction}; the fraction is null if it is unknown. */
export function describeStatus(status) {
  if (status.state === "waiting") {
    const place = status.queue_position ? `, place ${status.queue_position} in the queue` : "";
    return { text: `Waiting${place}${remaining(status)}`, fraction: null };
  }
  const networks = Object.values(status.slices);
  const total = networks.reduce((sum, network) => sum + network.total, 0);
  const done = networks.reduce((sum, network) => sum + network.done, 0);
  const stage = status.stage ? `: ${describeStage(status.stage)}` : "";
  return { text: `Running${stage}${remaining(status)}`, fraction: total ? done / total : null };
}

function remaining({ estimated_remaining_s: seconds }) {
  return seconds ? `; about ${Math.ceil(seconds)} s left` : "";
}

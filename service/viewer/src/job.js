// Following a job until it ends, across broken connections and restarts of the service.

import { readEvents } from "./events.js";
import { describeStage } from "./stages.js";

const RETRY_MS = 2000;
const MAX_RETRIES = 150; // five minutes: restarting takes less
const RETRIED = ["connection", "not-ready", "rate-limited"];

export const hasEnded = (status) => status.state === "done" || status.state === "failed";

/** Repeat a request while the service does not answer, and call onRetry before each repetition. */
export async function repeat(request, signal, onRetry) {
  for (let retries = 0; ; retries += 1) {
    try {
      return await request();
    } catch (error) {
      signal.throwIfAborted();
      if (!RETRIED.includes(error.slug) || retries === MAX_RETRIES) throw error;
    }
    onRetry();
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    signal.throwIfAborted();
  }
}

/** The status of a job whenever it changes; the last one has ended. Throws ServiceProblem. */
export async function* followJob(service, id, signal, onRetry) {
  for (;;) {
    const response = await repeat(() => service.request(`jobs/${id}/events`, { signal }), signal, onRetry);
    try {
      for await (const { event, data } of readEvents(response)) {
        if (event === "interrupted") break;
        const status = JSON.parse(data);
        yield status;
        if (hasEnded(status)) return;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof TypeError)) throw error; // how a connection that breaks is reported
    }
    onRetry();
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    signal.throwIfAborted();
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

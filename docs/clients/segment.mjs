// Segment a case with Node.js 18 or newer: node segment.mjs CASE.zip RESULT.zip [URL]
// As a job, because fetch ends a request that is not answered within five minutes.
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";

const [caseFile, resultFile, url = "http://127.0.0.1:8000"] = process.argv.slice(2);

async function request(path, options) {
  const response = await fetch(url + path, options);
  if (!response.ok) {
    console.error((await response.json()).detail);
    process.exit(1);
  }
  return response;
}

const form = new FormData();
form.append("file", new Blob([await readFile(caseFile)]), "case.zip");
const accepted = await request("/segment", {
  method: "POST",
  body: form,
  headers: { Prefer: "respond-async" },
});
const job = accepted.headers.get("Location");
let status = await accepted.json();
while (status.state === "waiting" || status.state === "running") {
  await sleep(500);
  status = await (await request(job)).json();
}
const result = await request(`${job}/result`); // of a failed job: its problem
await writeFile(resultFile, Buffer.from(await result.arrayBuffer()));

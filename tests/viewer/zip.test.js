import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { readEntries } from "../../service/viewer/src/zip.js";

// CASE_ZIP: a zip that the test in Python wrote, with a stored entry, a deflated one and a folder.
test("stored and deflated entries are read", async () => {
  const entries = await readEntries(new Blob([await readFile(process.env.CASE_ZIP)]));
  assert.deepEqual(
    entries.map(({ name }) => name),
    ["a/stored.txt", "a/deflated.txt"],
  );
  const contents = await Promise.all(entries.map(async (entry) => (await entry.read()).text()));
  assert.deepEqual(contents, ["stored".repeat(100), "deflated".repeat(100)]);
});

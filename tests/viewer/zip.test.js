import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { readEntries, readEntry } from "../../service/viewer/src/zip.js";

// CASE_ZIP: a zip that the test in Python wrote, with a stored entry, a deflated one and a folder.
test("stored and deflated entries are read", async () => {
  const blob = new Blob([await readFile(process.env.CASE_ZIP)]);
  const entries = await readEntries(blob);
  assert.deepEqual(
    entries.map(({ name }) => name),
    ["a/stored.txt", "a/deflated.txt"],
  );
  const contents = await Promise.all(entries.map(async (entry) => (await readEntry(blob, entry)).text()));
  assert.deepEqual(contents, ["stored".repeat(100), "deflated".repeat(100)]);
});

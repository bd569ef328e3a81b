import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { CaseError, checkCase, openCase } from "../../service/viewer/src/case.js";
import { formOf, pathOf } from "../../service/viewer/src/submission.js";

const file = (name, content = "x") => new File([content], name);
const IMAGES = ["t1", "t1ce", "t2", "flair"].map((role) => file(`Smith_${role}.nii.gz`));

test("four images are a complete case, and no file name is sent", async () => {
  const chosen = await openCase([...IMAGES, file("notes.txt")]);
  assert.deepEqual(checkCase(chosen, false), { ready: true, missing: [], message: "The case is complete." });
  const parts = [...(await formOf(chosen)).entries()];
  assert.deepEqual(
    parts.map(([name]) => name),
    ["t1", "t1ce", "t2", "flair"],
  );
  assert.ok(parts.every(([, part]) => part.name === "image"));
});

test("a missing image is named, and may be allowed", async () => {
  const chosen = await openCase(IMAGES.slice(1));
  assert.equal(checkCase(chosen, false).message, "Missing: T1.");
  assert.ok(!checkCase(chosen, false).ready);
  assert.ok(checkCase(chosen, true).ready);
});

test("files without preamble or ending of DICOM are no study", async () => {
  const study = await openCase([file("1", "\0".repeat(128) + "DICM"), file("DICOMDIR.txt")]);
  assert.equal(study.kind, "dicom");
  assert.equal(study.files.length, 1);
  await assert.rejects(openCase([file("letter.pdf")]), CaseError);
});

test("a file that is no zip, two zips, and unpacked pairs are refused", async () => {
  await assert.rejects(openCase([file("case.zip", "no zip")]), /not a zip/);
  await assert.rejects(openCase([file("a.zip"), file("b.zip")]), CaseError);
  await assert.rejects(openCase([file("t1.hdr"), file("t1.img")]), /pairs/);
});

test("a zip with a password is refused", async () => {
  const bytes = await readFile(process.env.CASE_ZIP); // as in zip.test.js
  bytes[bytes.lastIndexOf("PK\x01\x02") + 8] |= 1; // the flag of the last entry in the directory
  await assert.rejects(openCase([new File([bytes], "case.zip")]), /password/);
});

test("the prepared images are always asked for", () => {
  assert.equal(pathOf({ allowMissing: false, trustNames: true }), "segment?prepared=true&trust_names=true");
});

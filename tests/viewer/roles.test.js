import assert from "node:assert/strict";
import { test } from "node:test";
import { checkRoles, isImageName, roleOf } from "../../service/viewer/src/roles.js";

test("a role is the last word of the name before the extension", () => {
  assert.equal(roleOf("Folder/BraTS-GLI-00001-T1C.nii.gz"), "T1Gd");
  assert.equal(roleOf("patient_flair.NII"), "FLAIR");
  assert.equal(roleOf("a t2w.mha"), "T2");
  assert.equal(roleOf("patient_seg.nii.gz"), "ground truth");
  assert.equal(roleOf("patient_flair_copy.nii.gz"), "");
});

test("files of macOS and other formats are not images", () => {
  assert.ok(isImageName("a/t1.nii.gz"));
  assert.ok(!isImageName("a/._t1.nii.gz"));
  assert.ok(!isImageName("notes.txt"));
});

test("missing and repeated roles are found", () => {
  const { missing, repeated } = checkRoles(["T1", "T1", "FLAIR", "ground truth", ""]);
  assert.deepEqual(missing, ["T1Gd", "T2"]);
  assert.deepEqual(repeated, ["T1"]);
});

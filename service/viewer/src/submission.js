// Sending a case as a job.

import { PART_OF_ROLE } from "./roles.js";

/** A case as a form. Only neutral file names are sent, because a name may be a patient's. */
export async function formOf(chosen) {
  const form = new FormData();
  if (chosen.kind === "zip") form.append("file", chosen.files[0], "case.zip");
  for (const file of chosen.kind === "dicom" ? chosen.files : []) form.append("dicom", file, "image");
  for (const item of chosen.items.filter(({ role }) => role)) {
    form.append(PART_OF_ROLE[item.role], await item.read(), "image");
  }
  return form;
}

/**
 * The path of a submission. The service is asked for the prepared images as well: they lie on the grid of the label map
 * with one affine, whatever formats and orientations were sent (NiiVue would prefer the qform of a file, the service
 * its sform), they exist for DICOM too, and a link to the job shows them again.
 */
export function pathOf({ allowMissing, trustNames }) {
  const query = new URLSearchParams({ prepared: "true" });
  if (allowMissing) query.set("allow_missing", "true");
  if (trustNames) query.set("trust_names", "true");
  return `segment?${query}`;
}

/** A new Idempotency-Key. crypto.randomUUID exists on secure origins only. */
export function newIdempotencyKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The result of a job: a zip with the label map, the report and the prepared images.

import { MODALITIES } from "./roles.js";
import { readEntries } from "./zip.js";

/** The result of a job that is done. Throws ServiceProblem. */
export async function fetchResult(service, id) {
  const response = await service.request(`jobs/${id}/result`, { headers: { Accept: "application/zip" } });
  const entries = new Map((await readEntries(await response.blob())).map((entry) => [entry.name, entry]));
  const read = async (name) => entries.get(name)?.read() ?? null;
  const images = MODALITIES.map((modality) => [modality, entries.get(`prepared_${modality.toLowerCase()}.nii.gz`)]);
  const reportFile = await read("report.json");
  return {
    images: new Map(images.filter(([, entry]) => entry)), // read when they are shown
    labelMap: await read("segmentation.nii.gz"),
    groundTruth: await read("ground_truth.nii.gz"),
    reportFile,
    report: JSON.parse(await reportFile.text()),
  };
}

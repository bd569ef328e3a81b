// The case that is about to be sent: what the chosen files are, and whether they are complete.

import { checkRoles, isImageName, isPairName, roleOf } from "./roles.js";
import { readEntries } from "./zip.js";

const ZIP_NAME = /\.zip$/i;
const DICOM_NAME = /\.(dcm|dicom|ima)$/i;
const DOCUMENT_NAME = /\.(pdf|docx?|xlsx?|csv|tsv|txt|md|html?|xml|json|jpe?g|png|gif|bmp|tiff?)$/i;
const DICOM_MARK = "DICM";
const DICOM_MARK_AT = 128;

/** Files that form no case; the message says why. */
export class CaseError extends Error {}

/**
 * What chosen files are: {kind, name, items, files, bytes}.
 *
 * kind "images": `items` are the images {name, role, read}; `read` returns a Blob. The roles may be changed.
 * kind "zip": the zip in `files` is sent as it is: a DICOM study, or .hdr and .img pairs. kind "dicom": the files of a
 * study. Throws CaseError.
 */
export async function openCase(files) {
  if (!files.length) throw new CaseError("There is no file in what you chose.");
  const zips = files.filter((file) => ZIP_NAME.test(file.name));
  if (zips.length && files.length > 1) throw new CaseError("Choose one zip, or the files of one case. Send several cases one after the other.");
  if (zips.length) return openZip(zips[0]);
  const images = files.filter((file) => isImageName(file.name));
  if (images.some((file) => isPairName(file.name))) {
    throw new CaseError("Put .hdr and .img files into a zip, and choose that: they belong together in pairs.");
  }
  if (images.length)
    return {
      kind: "images",
      name: nameOf(images),
      items: images.map((file) => imageOf(file.name, async () => file)),
      bytes: sizeOf(images),
    };
  return openStudy(files);
}

async function openZip(zip) {
  const entries = await entriesOf(zip);
  const name = zip.name.replace(ZIP_NAME, "");
  const images = entries.filter((entry) => isImageName(entry.name));
  if (!images.length || images.some((entry) => isPairName(entry.name))) {
    const count = images.length || entries.length;
    return { kind: "zip", name, files: [zip], items: [], count, isStudy: !images.length, bytes: zip.size };
  }
  return { kind: "images", name, items: images.map((entry) => imageOf(entry.name, entry.read)), bytes: zip.size };
}

async function entriesOf(zip) {
  let entries;
  try {
    entries = await readEntries(zip);
  } catch {
    throw new CaseError("This file is not a zip, or is incomplete or damaged.");
  }
  if (entries.some((entry) => entry.isEncrypted)) {
    throw new CaseError("This zip is protected by a password. Zip the case again without one.");
  }
  if (entries.every((entry) => DOCUMENT_NAME.test(entry.name))) throw new CaseError("There are no images in this zip.");
  return entries;
}

/** What files are called together: their folder, or the first of them. */
function nameOf(files) {
  const [folder, ...inside] = (files[0].webkitRelativePath ?? "").split("/");
  if (inside.length) return folder;
  return files.length === 1 ? files[0].name : `${files[0].name} and ${files.length - 1} others`;
}

const sizeOf = (files) => files.reduce((bytes, file) => bytes + file.size, 0);

function imageOf(name, read) {
  return { name: name.split("/").at(-1), role: roleOf(name), read };
}

async function openStudy(files) {
  const areDicom = await Promise.all(files.map(isDicom));
  const slices = files.filter((_, index) => areDicom[index]);
  if (!slices.length) {
    throw new CaseError(
      "None of these files is an image that can be read: expected NIfTI, NRRD, MetaImage or MGH files, DICOM files, " +
        "or a zip of them.",
    );
  }
  return { kind: "dicom", name: nameOf(slices), files: slices, items: [], count: slices.length, isStudy: true, bytes: sizeOf(slices) };
}

async function isDicom(file) {
  const mark = await file.slice(DICOM_MARK_AT, DICOM_MARK_AT + DICOM_MARK.length).text();
  return mark === DICOM_MARK || DICOM_NAME.test(file.name);
}

/** Whether a case can be sent, which modalities are missing (undefined: not known), and a sentence about it. */
export function checkCase(chosen, allowMissing) {
  if (chosen.kind !== "images") return { ready: true, message: describeStudy(chosen) };
  const { missing, repeated } = checkRoles(chosen.items.map((item) => item.role));
  if (repeated.length) return { ready: false, missing, message: `Chosen more than once: ${repeated.join(", ")}.` };
  if (missing.length === 4) return { ready: false, missing, message: "Choose in the list what each image is." };
  if (missing.length && !allowMissing) return { ready: false, missing, message: `Missing: ${missing.join(", ")}.` };
  if (missing.length) return { ready: true, missing, message: `To be segmented without ${missing.join(" and ")}.` };
  return { ready: true, missing, message: "The case is complete." };
}

function describeStudy(chosen) {
  if (!chosen.isStudy) return `A zip with ${chosen.count} image files, which the service tells apart by their names.`;
  return `${chosen.count} files without names of modalities: the service looks for the four series among them (DICOM).`;
}

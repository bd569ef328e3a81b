// Zip archives, read entry by entry from a Blob, so that a large one is never in memory as a whole.

import { BlobReader, BlobWriter, ZipReader } from "@zip.js/zip.js/lib/zip-core-external.js"; // without WebAssembly

const OPTIONS = { useWebWorkers: false }; // the policy of the page allows no scripts from blobs

/** The files in a zip: {name, isEncrypted, read}; `read` returns a Blob. Throws an Error if the Blob is no zip. */
export async function readEntries(blob) {
  const entries = await new ZipReader(new BlobReader(blob), OPTIONS).getEntries();
  return entries
    .filter((entry) => !entry.directory)
    .map((entry) => ({
      name: entry.filename,
      isEncrypted: entry.encrypted,
      read: () => entry.getData(new BlobWriter(), OPTIONS),
    }));
}

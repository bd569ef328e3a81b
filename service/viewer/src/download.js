// Saving what the page holds as files.

const REVOKE_AFTER_MS = 60000; // the browser must have begun to read

/** Offer a Blob as a download. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_AFTER_MS);
}

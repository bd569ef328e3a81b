// Reads zip archives from a Blob, entry by entry, so that a large upload is never in memory as a whole.

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const IN_ZIP64 = 0xffffffff;
const STORED = 0;
const DEFLATED = 8;

async function viewOf(blob) {
  return new DataView(await blob.arrayBuffer());
}

/** The entries of an archive, without its folders. Throws an Error if the blob is not a zip that can be read here. */
export async function readEntries(blob) {
  const tail = await viewOf(blob.slice(Math.max(0, blob.size - END_BYTES - MAX_COMMENT_BYTES)));
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END_SIGNATURE) end -= 1;
  if (end < 0) throw new Error("not a zip");
  const size = tail.getUint32(end + 12, true);
  const start = tail.getUint32(end + 16, true);
  if (size === IN_ZIP64 || start === IN_ZIP64) throw new Error("a zip of more than 4 GiB");
  const directory = await viewOf(blob.slice(start, start + size));
  return parseDirectory(directory).filter((entry) => !entry.name.endsWith("/"));
}

function parseDirectory(directory) {
  const entries = [];
  let at = 0;
  while (at + ENTRY_BYTES <= directory.byteLength && directory.getUint32(at, true) === ENTRY_SIGNATURE) {
    const nameBytes = directory.getUint16(at + 28, true);
    entries.push({
      name: new TextDecoder().decode(new Uint8Array(directory.buffer, at + ENTRY_BYTES, nameBytes)),
      method: directory.getUint16(at + 10, true),
      compressedBytes: directory.getUint32(at + 20, true),
      offset: directory.getUint32(at + 42, true),
    });
    at += ENTRY_BYTES + nameBytes + directory.getUint16(at + 30, true) + directory.getUint16(at + 32, true);
  }
  return entries;
}

/** The content of an entry as a Blob. */
export async function readEntry(blob, entry) {
  const local = await viewOf(blob.slice(entry.offset, entry.offset + LOCAL_BYTES));
  const start = entry.offset + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true);
  const data = blob.slice(start, start + entry.compressedBytes);
  if (entry.method === STORED) return data;
  if (entry.method !== DEFLATED) throw new Error("an entry that is neither stored nor deflated");
  return new Response(data.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob();
}

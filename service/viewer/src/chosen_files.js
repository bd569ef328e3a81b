// The files that a user chose or dropped, folders included.

/** The files of a drop. */
export async function filesOfDrop(transfer) {
  // Entries must be taken before the first await: the browser empties the list then.
  const parts = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return (await Promise.all(parts.filter(Boolean).map(filesOf))).flat();
}

async function filesOf(part) {
  if (part instanceof File) return [part];
  if (part.isFile) return [await new Promise((resolve, reject) => part.file(resolve, reject))];
  return (await Promise.all((await entriesOf(part.createReader())).map(filesOf))).flat();
}

async function entriesOf(reader) {
  const all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return all; // a reader returns at most 100 entries at once
    all.push(...some);
  }
}

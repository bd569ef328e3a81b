// Server-sent events, read with fetch: an EventSource cannot send the API key in a header.

/** Splits the text of a stream into events {event, data}; feed it chunks of any size. */
export class EventParser {
  #rest = "";

  /** The events that a chunk completes. */
  feed(chunk) {
    const blocks = (this.#rest + chunk).replaceAll("\r\n", "\n").split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map(parseBlock).filter((event) => event.data);
  }
}

function parseBlock(block) {
  const event = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event.event = value;
    if (field === "data") event.data += (event.data && "\n") + value;
  }
  return event;
}

/** The events of a response, as they arrive. */
export async function* readEvents(response) {
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* parser.feed(value);
  }
}

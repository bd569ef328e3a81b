// Server-sent events, read with fetch: an EventSource cannot send the API key in a header.

import { EventSourceParserStream } from "eventsource-parser/stream";

/** The events {event, data} of a response, as they arrive. */
export async function* readEvents(response) {
  const reader = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream())
    .getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

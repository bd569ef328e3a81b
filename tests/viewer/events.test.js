import assert from "node:assert/strict";
import { test } from "node:test";
import { readEvents } from "../../service/viewer/src/events.js";

test("events are read as they arrive, without pings and what a broken connection left", async () => {
  const stream = 'event: running\ndata: {"a":\ndata: 1}\n\n: ping\n\nevent: done\r\ndata: {}\r\n\r\nevent: lost\ndata: {}';
  const events = [];
  for await (const { event, data } of readEvents(new Response(stream))) events.push({ event, data });
  assert.deepEqual(events, [
    { event: "running", data: '{"a":\n1}' },
    { event: "done", data: "{}" },
  ]);
});

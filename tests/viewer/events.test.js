import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser } from "../../service/viewer/src/events.js";

const STREAM =
  'event: running\ndata: {"a":\ndata: 1}\n\n: ping\n\nevent: done\r\ndata: {}\r\n\r\nevent: lost\ndata: {}';

test("events are the same in chunks of any size", () => {
  const expected = [
    { event: "running", data: '{"a":\n1}' },
    { event: "done", data: "{}" },
  ];
  for (const size of [1, 2, 7, STREAM.length]) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < STREAM.length; at += size) events.push(...parser.feed(STREAM.slice(at, at + size)));
    assert.deepEqual(events, expected, `in chunks of ${size}`);
  }
});

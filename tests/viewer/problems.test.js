import assert from "node:assert/strict";
import { test } from "node:test";
import { describeProblem, parseProblem } from "../../service/viewer/src/problems.js";

test("a full queue is described in the words of the problem, with what to do", () => {
  const body = { type: "urn:glioserve:problem:queue-full", title: "Queue full", status: 429, detail: "8 cases wait." };
  const { title, detail, advice } = describeProblem(parseProblem(429, JSON.stringify(body), "30"));
  assert.equal(title, "Queue full");
  assert.equal(detail, "8 cases wait.");
  assert.match(advice, /send the case again.*30 seconds/);
});

test("a body that is no problem becomes one", () => {
  const { title } = describeProblem(parseProblem(502, "<html>", null));
  assert.equal(title, "The service responded with status 502");
});

test("errors of the page itself are not called problems of the service", () => {
  assert.equal(describeProblem(new TypeError("x is undefined")).title, "The page failed");
});

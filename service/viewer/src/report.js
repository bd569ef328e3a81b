// The report of a case as tables and lists.

import { element } from "./element.js";
import { REGION_NAMES } from "./labels.js";
import { describeStage } from "./stages.js";

const SCORES = [
  ["Dice", (scores) => scores.dice.toFixed(3)],
  ["Sensitivity", (scores) => scores.sensitivity.toFixed(3)],
  ["Specificity", (scores) => scores.specificity.toFixed(4)],
  ["HD95 (mm)", (scores) => scores.hd95_mm.toFixed(1)],
];

/** The elements that show a report. */
export function renderReport(report) {
  return [
    renderReview(report),
    renderList("Warnings", report.warnings),
    renderRegions(report),
    renderDetails(report),
  ].filter(Boolean);
}

function renderReview({ review_recommended: isRecommended, review_reasons: reasons }) {
  if (!isRecommended) {
    return element("p", {}, "The service found no particular reason for a review. That does not mean it is right.");
  }
  const box = element("div", { className: "review" });
  box.append(...renderList("A person should check this case with special care", reasons).childNodes);
  return box;
}

function renderList(title, lines) {
  if (!lines.length) return null;
  const items = lines.map((line) => element("li", {}, line));
  return element("div", {}, element("h3", {}, title), element("ul", {}, ...items));
}

function renderRegions({ regions, input: { missing_modalities: missing } }) {
  const entries = Object.values(regions);
  const hasScores = entries.some((entry) => entry.scores);
  const rows = [
    ["Volume (ml)", ...entries.map((entry) => entry.volume_ml.toFixed(1))],
    ["Estimated Dice", ...entries.map((entry) => describeQuality(entry.quality))],
    ...(hasScores ? SCORES.map(([name, format]) => [name, ...entries.map(({ scores }) => format(scores))]) : []),
  ];
  const columns = ["Measure", ...Object.keys(regions).map((region) => REGION_NAMES[region])];
  const note = noteOf(hasScores, missing);
  return element("div", {}, renderTable("Regions", columns, rows), element("p", { className: "note" }, note));
}

function noteOf(hasScores, missing) {
  if (missing.length) return "Estimated Dice: the mean of cases that lack the same modality, not an estimate for this one.";
  if (!hasScores) return "Estimated Dice: how good the region probably is; in brackets, the range that is likely.";
  return "Estimated Dice: how good the region probably is, without the ground truth. The rows below compare it with that.";
}

function describeQuality(quality) {
  if (!quality) return "none";
  return `${quality.predicted_dice.toFixed(2)} (${quality.low.toFixed(2)} to ${quality.high.toFixed(2)})`;
}

function renderDetails(report) {
  const { input, model, computation, preparation } = report;
  const facts = [
    ["Grid of the label map", `${input.shape.join(" × ")} voxels, ${formatSpacing(input.spacing_mm)}`],
    ["Orientation", input.orientation],
    ["Missing modalities", input.missing_modalities.join(", ") || "none"],
    ["Preparation", preparation ? preparation.reasons.join("; ") : "not needed"],
    ["Weights", `${model.name}, version ${model.version}`],
    ["Computed on", `${computation.device}, ${computation.precision}`],
  ];
  const times = Object.entries(report.timings_ms).map(([stage, ms]) => [describeStage(stage), (ms / 1000).toFixed(2)]);
  return element(
    "details",
    {},
    element("summary", {}, "Input, computation and timings"),
    renderTable("Input and computation", ["Property", "Value"], facts),
    renderTable("Timings", ["Stage", "Seconds"], times),
  );
}

const formatSpacing = (spacing) => `${spacing.map((length) => Number(length.toFixed(2))).join(" × ")} mm`;

function renderTable(caption, columns, rows) {
  const head = columns.map((name) => element("th", { scope: "col" }, name));
  const body = rows.map(([first, ...others]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...others.map((cell) => element("td", {}, cell))),
  );
  const table = element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
  // A wide table scrolls by itself, also by keyboard, so that the page does not.
  return element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption }, table);
}

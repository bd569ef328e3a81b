// A picture of what the viewers show, with what it is, what the colours mean and what the picture may be used for.

import { LABELS } from "./labels.js";

const LINE_PIXELS = 20; // at one device pixel for each CSS pixel
const LINES = 4;
const NOTICE = "GlioServe: not a medical device; research use only";

/** Viewers side by side as a PNG, with a caption that contains the description. */
export function drawPicture(viewers, shown, description) {
  const canvases = viewers.map((viewer) => viewer.drawn());
  const line = LINE_PIXELS * devicePixelRatio;
  const picture = document.createElement("canvas");
  picture.width = canvases.reduce((width, canvas) => width + canvas.width, 0);
  picture.height = canvases[0].height + LINES * line;
  const context = picture.getContext("2d");
  context.fillRect(0, 0, picture.width, picture.height);
  context.font = `${0.7 * line}px sans-serif`;
  const write = (text, left, row, colour) => {
    context.fillStyle = colour;
    context.fillText(text, left, canvases[0].height + (row - 0.25) * line);
  };
  let left = 0;
  canvases.forEach((canvas, index) => {
    context.drawImage(canvas, left, 0);
    write(viewers[index].name, left + 8, 1, "white");
    left += canvas.width;
  });
  left = 8;
  for (const { name, rgb } of LABELS.filter(({ value }) => shown.has(value))) {
    write(name, left, 2, `rgb(${rgb.join()})`);
    left += context.measureText(name).width + line;
  }
  write(description, 8, 3, "white");
  write(NOTICE, 8, 4, "white");
  return new Promise((resolve) => picture.toBlob(resolve, "image/png"));
}

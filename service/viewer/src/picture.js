// A picture of what the viewers show, with what the colours mean and what the picture may be used for.

import { LABELS } from "./labels.js";

const CAPTION_PIXELS = 44;
const NOTICE = "GlioServe: not a medical device; research use only";

/** Viewers side by side as a PNG, with a caption. */
export function drawPicture(viewers, shown) {
  const canvases = viewers.map((viewer) => viewer.drawn());
  const picture = document.createElement("canvas");
  picture.width = canvases.reduce((width, canvas) => width + canvas.width, 0);
  picture.height = canvases[0].height + CAPTION_PIXELS;
  const context = picture.getContext("2d");
  context.fillRect(0, 0, picture.width, picture.height);
  let left = 0;
  for (const canvas of canvases) {
    context.drawImage(canvas, left, 0);
    left += canvas.width;
  }
  drawCaption(context, canvases[0].height, shown);
  return new Promise((resolve) => picture.toBlob(resolve, "image/png"));
}

function drawCaption(context, top, shown) {
  context.font = "14px sans-serif";
  let left = 8;
  for (const { name, rgb } of LABELS.filter(({ value }) => shown.has(value))) {
    context.fillStyle = `rgb(${rgb.join()})`;
    context.fillText(name, left, top + 17);
    left += context.measureText(name).width + 16;
  }
  context.fillStyle = "white";
  context.fillText(NOTICE, 8, top + 37);
}

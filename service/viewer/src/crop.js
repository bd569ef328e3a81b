// Cutting an image to the brain: most of a prepared image is air, and most of the time to draw it.
// Images are {voxels, shape, affine}, as in nifti.js; boxes are [[from, to], ...] for each axis, `to` exclusive.

import { toMillimetres } from "./slices.js";

const MARGIN = 4; // voxels, so that the edge of the brain does not touch the edge of the picture

/** The smallest box that contains all voxels other than zero, and a margin; null if there are none. */
export function boxOf({ voxels, shape }) {
  const [width, height, depth] = shape;
  const low = [width, height, depth];
  const high = [0, 0, 0];
  const include = (axis, index) => {
    low[axis] = Math.min(low[axis], index);
    high[axis] = Math.max(high[axis], index);
  };
  for (let z = 0, row = 0; z < depth; z += 1) {
    for (let y = 0; y < height; y += 1, row += width) {
      let first = 0;
      while (first < width && !voxels[row + first]) first += 1;
      if (first === width) continue;
      let last = width - 1;
      while (!voxels[row + last]) last -= 1;
      include(0, first);
      include(0, last);
      include(1, y);
      include(2, z);
    }
  }
  if (low[0] === width) return null;
  return shape.map((size, axis) => [Math.max(0, low[axis] - MARGIN), Math.min(size, high[axis] + 1 + MARGIN)]);
}

/** The smallest box that contains two, each of which may be null. */
export function unite(box, other) {
  if (!box || !other) return box ?? other;
  return box.map(([from, to], axis) => [Math.min(from, other[axis][0]), Math.max(to, other[axis][1])]);
}

/** The part of an image in a box, at its place in the world. */
export function crop({ voxels, shape, affine }, box) {
  const size = box.map(([from, to]) => to - from);
  const part = new voxels.constructor(size[0] * size[1] * size[2]);
  let at = 0;
  for (let z = box[2][0]; z < box[2][1]; z += 1) {
    for (let y = box[1][0]; y < box[1][1]; y += 1, at += size[0]) {
      const row = (z * shape[1] + y) * shape[0];
      part.set(voxels.subarray(row + box[0][0], row + box[0][1]), at);
    }
  }
  const origin = toMillimetres(
    affine,
    box.map(([from]) => from),
  );
  return { voxels: part, shape: size, affine: affine.map((line, i) => (i < 3 ? [...line.slice(0, 3), origin[i]] : line)) };
}

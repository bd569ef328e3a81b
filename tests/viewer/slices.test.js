import assert from "node:assert/strict";
import { test } from "node:test";
import { arrayAxis, largestSliceCentre, toMillimetres, toVoxel } from "../../service/viewer/src/slices.js";

// An array whose axes run to the feet, to the left and to the front.
const AFFINE = [
  [0, -2, 0, 10],
  [0, 0, 3, 20],
  [-1, 0, 0, 30],
];

test("the array axis of a view is found whatever the order of the axes", () => {
  assert.deepEqual(
    [0, 1, 2].map((world) => arrayAxis(AFFINE, world)),
    [1, 2, 0],
  );
});

test("voxels and millimetres convert into each other", () => {
  assert.deepEqual(toMillimetres(AFFINE, [1, 2, 3]), [6, 29, 29]);
  const voxel = toVoxel(AFFINE, [6, 29, 29]);
  voxel.forEach((index, axis) => assert.ok(Math.abs(index - [1, 2, 3][axis]) < 1e-9));
});

test("the centre of the largest slice is found", () => {
  const shape = [4, 5, 3];
  const voxels = new Uint8Array(60);
  const set = (x, y, z) => (voxels[x + 4 * (y + 5 * z)] = 2);
  set(0, 0, 0);
  for (const y of [1, 2, 3]) set(2, y, 1);
  assert.deepEqual(largestSliceCentre(voxels, shape, 2), [2, 2, 1]);
  assert.deepEqual(largestSliceCentre(voxels, shape, 0), [2, 2, 1]);
  assert.equal(largestSliceCentre(new Uint8Array(60), shape, 2), null);
});

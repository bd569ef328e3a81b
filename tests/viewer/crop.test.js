import assert from "node:assert/strict";
import { test } from "node:test";
import { boxOf, crop, unite } from "../../service/viewer/src/crop.js";
import { toMillimetres } from "../../service/viewer/src/slices.js";

const SHAPE = [20, 15, 12];
const AFFINE = [
  [-1, 0, 0, 50],
  [0, 0, 3, -40],
  [0, 2, 0, 7],
  [0, 0, 0, 1],
];
const at = ([x, y, z], [width, height]) => (z * height + y) * width + x;

function imageWith(...places) {
  const voxels = new Float32Array(SHAPE[0] * SHAPE[1] * SHAPE[2]);
  places.forEach((place, index) => (voxels[at(place, SHAPE)] = index + 1));
  return { voxels, shape: SHAPE, affine: AFFINE };
}

test("a cropped image has the same values at the same places", () => {
  const places = [
    [9, 6, 5],
    [10, 5, 8],
  ];
  const image = imageWith(...places);
  const box = boxOf(image);
  assert.deepEqual(box, [
    [5, 15],
    [1, 11],
    [1, 12],
  ]);
  const part = crop(image, box);
  assert.deepEqual(part.shape, [10, 10, 11]);
  places.forEach((place, index) => {
    const inside = place.map((value, axis) => value - box[axis][0]);
    assert.equal(part.voxels[at(inside, part.shape)], index + 1);
    assert.deepEqual(toMillimetres(part.affine, inside), toMillimetres(AFFINE, place));
  });
  assert.equal(part.voxels.filter(Boolean).length, 2);
});

test("the box of an empty image is null, and boxes are united", () => {
  assert.equal(boxOf(imageWith()), null);
  const [first, second] = [boxOf(imageWith([0, 0, 0])), boxOf(imageWith([19, 14, 11]))];
  assert.deepEqual(unite(null, first), first);
  assert.deepEqual(unite(first, null), first);
  assert.deepEqual(
    unite(first, second),
    SHAPE.map((size) => [0, size]),
  );
});

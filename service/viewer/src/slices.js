// Slices of a label map: which array axis a view runs along, and where the largest tumour slice is.
// Voxels are in the order of the file, x fastest; affines map voxel indices to RAS millimetres.

/** World axes of the three views: sagittal slices are stacked from left to right, and so on. */
export const WORLD_AXIS = { sagittal: 0, coronal: 1, axial: 2 };

/** The array axis that runs most nearly along a world axis. */
export function arrayAxis(affine, worldAxis) {
  const spacing = [0, 1, 2].map((axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]));
  const along = [0, 1, 2].map((axis) => Math.abs(affine[worldAxis][axis]) / spacing[axis]);
  return along.indexOf(Math.max(...along));
}

/** Number of voxels of a tumour, and the sums of their indices, in each slice along an axis. */
function countSlices(voxels, shape, axis) {
  const counts = new Float64Array(shape[axis]);
  const sums = [0, 1, 2].map(() => new Float64Array(shape[axis]));
  const index = [0, 0, 0];
  let at = 0;
  for (index[2] = 0; index[2] < shape[2]; index[2] += 1) {
    for (index[1] = 0; index[1] < shape[1]; index[1] += 1) {
      for (index[0] = 0; index[0] < shape[0]; index[0] += 1, at += 1) {
        if (!voxels[at]) continue;
        counts[index[axis]] += 1;
        for (let i = 0; i < 3; i += 1) sums[i][index[axis]] += index[i];
      }
    }
  }
  return { counts, sums };
}

/** The centre, in voxels, of the tumour in the slice along an axis that has most of it; null without tumour. */
export function largestSliceCentre(voxels, shape, axis) {
  const { counts, sums } = countSlices(voxels, shape, axis);
  const largest = counts.reduce((best, count, slice) => (count > counts[best] ? slice : best), 0);
  return counts[largest] ? sums.map((sum) => Math.round(sum[largest] / counts[largest])) : null;
}

/** The place of a voxel in RAS millimetres. */
export function toMillimetres(affine, voxel) {
  return [0, 1, 2].map(
    (row) => affine[row][0] * voxel[0] + affine[row][1] * voxel[1] + affine[row][2] * voxel[2] + affine[row][3],
  );
}

/** The voxel, in fractional indices, at a place in RAS millimetres: the inverse of toMillimetres. */
export function toVoxel(affine, place) {
  const [a, b, c] = [0, 1, 2].map((column) => [0, 1, 2].map((row) => affine[row][column]));
  const offset = [0, 1, 2].map((row) => place[row] - affine[row][3]);
  const volume = dot(a, cross(b, c));
  return [cross(b, c), cross(c, a), cross(a, b)].map((normal) => dot(normal, offset) / volume);
}

const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];

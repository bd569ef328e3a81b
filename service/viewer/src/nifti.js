// NIfTI images of the service as {voxels, shape, affine}: voxels in the order of the file, x fastest; the affine maps
// voxel indices to RAS millimetres.

import { NIFTI1, readHeader, readImage } from "nifti-reader-js";

const ARRAYS = { [NIFTI1.TYPE_UINT8]: Uint8Array, [NIFTI1.TYPE_FLOAT32]: Float32Array }; // all that the service writes

/** Read a .nii.gz file from a Blob. */
export async function readNifti(file) {
  const unpacked = file.stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(unpacked).arrayBuffer();
  const header = readHeader(buffer);
  const voxels = new ARRAYS[header.datatypeCode](readImage(header, buffer));
  return { voxels, shape: header.dims.slice(1, 4), affine: header.affine };
}

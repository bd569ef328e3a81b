"""Headers of MetaImage and NRRD for a small image with big-endian voxels."""

import numpy as np

METAIMAGE_HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = True
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 1 1 1
DimSize = 2 3 4
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
NRRD_HEADER = """NRRD0004
# a comment
type: short
dimension: 3
space: right-anterior-superior
sizes: 2 3 4
space directions: (1,0,0) (0,1,0) (0,0,1)
endian: big
encoding: raw
space origin: (0,0,0)

"""
SHAPE = (2, 3, 4)
VOXELS = np.arange(24, dtype=">i2").tobytes()

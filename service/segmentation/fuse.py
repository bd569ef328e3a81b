"""Fusion of the three regions' masks into nested ones."""

import numpy as np
from numpy.typing import NDArray


def nest(mask: NDArray[np.bool_], outer: NDArray[np.bool_] | None) -> tuple[NDArray[np.bool_], int]:
    """A region's mask within that of the region around it, if there is one, and the number of voxels that gave way.

    The inner region gives way: the network of the outer one sees the easier task and errs less.
    """
    if outer is None:
        return mask, 0
    nested = mask & outer
    return nested, int(np.count_nonzero(mask) - np.count_nonzero(nested))


def drop_small(mask: NDArray[np.bool_], smallest_ml: float, voxel_ml: float) -> NDArray[np.bool_]:
    """The mask, or an empty one where it does not reach the smallest volume that a card gives its region.

    A few voxels of enhancing tumour are more often a vessel in a patient without any.
    """
    return mask & (np.count_nonzero(mask) * voxel_ml >= smallest_ml)

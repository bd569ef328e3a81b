"""Raw series of the phantom: each on a grid of its own, moved, with a skull and noise, and with known answers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from service.imaging.case import BRAIN_MASK, GROUND_TRUTH, Modality
from service.imaging.phantom import BRAIN, TUMOUR, Ellipsoid, make_phantom
from service.imaging.volume import Grid, Volume

TUMOUR_CENTRE_RAS = np.array([-1, -1, 1]) * next(iter(TUMOUR.values())).centre
SKULL_MM = (-14, -6)  # depth below the brain's surface: outside it
FACE = Ellipsoid((120, 35, 30), (38, 22, 42))  # without it, the head could turn about its own axes unnoticed
SKULL_INTENSITY, FACE_INTENSITY = 350, 250
NOISE = 4  # in air, which a scanner never leaves at zero


@dataclass(frozen=True)
class Motion:
    """A rigid motion of the head about the centre of the brain."""

    degrees: tuple[float, float, float] = (0, 0, 0)
    shift_mm: tuple[float, float, float] = (0, 0, 0)

    @property
    def matrix(self) -> np.ndarray:
        """From points before the motion to points after it, (4, 4) in RAS+ millimetres."""
        matrix, centre = np.eye(4), np.array([-1, -1, 1]) * BRAIN.centre
        matrix[:3, :3] = Rotation.from_euler("xyz", self.degrees, degrees=True).as_matrix()
        matrix[:3, 3] = centre + self.shift_mm - matrix[:3, :3] @ centre
        return matrix


AXIAL = Grid((110, 110, 32), np.array([[-2, 0, 0, -10], [0, -2, 0, -12], [0, 0, 5, 0], [0, 0, 0, 1.0]]))
SAGITTAL = Grid((48, 110, 90), np.array([[-4, 0, 0, -24], [0, -2, 0, -12], [0, 0, 2, -12], [0, 0, 0, 1.0]]))

# T1Gd is the reference; each of the others has moved since, as a patient does between two series.
SERIES: Mapping[Modality, tuple[Grid, Motion]] = {
    Modality.T1: (SAGITTAL, Motion((10, -4, 6), (8, -12, 5))),
    Modality.T1GD: (AXIAL, Motion()),
    Modality.T2: (AXIAL, Motion((-3, 12, 4), (-15, 6, 10))),
    Modality.FLAIR: (AXIAL, Motion((0, 2, -15), (3, 2, -4))),
}


def make_series(modality: Modality, grid: Grid, motion: Motion) -> Volume:
    """A series of a head that has moved, with a skull and noise; its header does not know of the motion."""
    before = Grid(grid.shape, np.linalg.inv(motion.matrix) @ grid.affine)
    voxels = make_phantom(before)[modality].voxels.astype(np.int16)
    indices = np.moveaxis(np.indices(grid.shape, np.float32), 0, -1)
    points = indices @ before.affine[:3, :3].T + before.affine[:3, 3]
    points_lps = (points * [-1, -1, 1]).astype(np.float32)
    depth = BRAIN.depth_mm(points_lps)
    low, high = SKULL_MM
    voxels[(depth < low) & (FACE.depth_mm(points_lps) > 0)] = FACE_INTENSITY
    voxels[(depth > low) & (depth < high)] = SKULL_INTENSITY
    noise = np.random.default_rng(list(Modality).index(modality)).rayleigh(NOISE, grid.shape)
    return Volume((voxels + noise).astype(np.int16), grid.affine)


def make_raw_case() -> dict[str, Volume]:
    """The four series, and on the grid of T1Gd the ground truth and the mask of the brain."""
    series = {str(modality): make_series(modality, *acquisition) for modality, acquisition in SERIES.items()}
    phantom = make_phantom(AXIAL)
    brain = np.any([phantom[modality].voxels != 0 for modality in Modality], axis=0)
    return series | {
        GROUND_TRUTH: phantom[GROUND_TRUTH],
        BRAIN_MASK: Volume(brain.astype(np.uint8), AXIAL.affine),
    }


def true_motion(modality: Modality) -> np.ndarray:
    """From the series back to the reference, which has not moved."""
    _, motion = SERIES[modality]
    return np.linalg.inv(motion.matrix)

"""Synthetic raw scans of prepared cases, with known answers: a head around the brain, motions, and thick slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from service.imaging.case import Case, Modality
from service.imaging.geometry import covering_grid
from service.imaging.volume import Grid, Volume

MAX_SHIFT_MM, MAX_DEGREES = 20, 15
MARGIN_MM = 30  # around the prepared case: room for the head
FLUID_MM, BONE_MM, SCALP_MM = 3, 8, 15  # where these layers end, from the surface of the brain
FACE_MM = (70, 60, 75)  # right to left, back to front, down from the brain's lowest third; without it, a head is a ball
THICK_MM, THIN_MM = 5.0, 1.2

# Intensities of fluid, bone, scalp and face in percent of the brain's mean; noise in percent of it.
LAYERS: Mapping[Modality, tuple[int, int, int, int]] = {
    Modality.T1: (35, 15, 160, 90),
    Modality.T1GD: (35, 15, 170, 100),
    Modality.T2: (180, 15, 90, 70),
    Modality.FLAIR: (25, 15, 80, 70),
}
NOISE_PERCENT = 3


@dataclass(frozen=True)
class RawCase:
    """Series as a scanner would make them, and the motion of each: points of the prepared case to its points (RAS+)."""

    case: Case
    motions: Mapping[Modality, NDArray[np.float64]]


def make_raw(prepared: Case, seed: int) -> RawCase:
    """Each series of a case, moved by up to 20 mm and 15 degrees, axial with 5 mm or sagittal with 1.2 mm slices."""
    random = np.random.default_rng(seed)
    brain = np.logical_or.reduce([image.voxels != 0 for image in prepared.images.values()])
    tissue = _tissue([length + 2 * MARGIN_MM for length in prepared.grid.shape], random)
    images, motions = {}, {}
    for modality, image in prepared.images.items():
        head = add_head(modality, image, brain, tissue, random)
        motions[modality] = random_motion(centre(prepared.grid), random)
        images[modality] = scan(head, motions[modality], is_thick=bool(random.integers(2)))
    return RawCase(Case(images), motions)


def add_head(
    modality: Modality,
    image: Volume,
    brain: NDArray[np.bool_],
    tissue: NDArray[np.float32],
    random: np.random.Generator,
) -> Volume:
    """An image with fluid, bone, scalp, a face and noise around the brain; voxels must be cubes of 1 mm."""
    padded, inside = (np.pad(voxels, MARGIN_MM) for voxels in (image.voxels.astype(np.float32), brain))
    mean = padded[inside].mean()
    depth = ndimage.distance_transform_edt(~inside)
    fluid, bone, scalp, face = (share * mean / 100 for share in LAYERS[modality])
    for low, high, intensity in ((0, FLUID_MM, fluid), (FLUID_MM, BONE_MM, bone), (BONE_MM, SCALP_MM, scalp)):
        padded[(depth > low) & (depth <= high)] = intensity
    face_voxels = _face(image, inside) & (depth > SCALP_MM)
    padded[face_voxels] = face * tissue[face_voxels]
    noise = random.normal(0, NOISE_PERCENT * mean / 100, (2, *padded.shape)).astype(np.float32)
    affine = image.affine.copy()
    affine[:3, 3] = (image.affine @ [-MARGIN_MM, -MARGIN_MM, -MARGIN_MM, 1])[:3]
    return Volume(np.hypot(padded + noise[0], noise[1]), affine)  # magnitude images have Rician noise


def _tissue(shape: Sequence[int], random: np.random.Generator) -> NDArray[np.float32]:
    """Factors of the face, from 0 to 2, that vary over millimetres, as between muscle, fat, bone and air."""
    coarse = ndimage.gaussian_filter(random.normal(size=[length // 4 + 2 for length in shape]).astype(np.float32), 1)
    fine = ndimage.zoom(coarse / coarse.std(), 4, order=1)[tuple(map(slice, shape))]
    return (1 + fine).clip(0, 2)


def _face(image: Volume, brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """An ellipsoid in front of and below the brain."""
    points = np.argwhere(brain) @ image.affine[:3, :3].T
    low, high = points.min(axis=0), points.max(axis=0)
    middle = np.array([(low[0] + high[0]) / 2, high[1] - FACE_MM[1] / 2, low[2] + FACE_MM[2] / 4])
    indices = np.moveaxis(np.indices(brain.shape, np.float32), 0, -1)
    distance = (indices @ image.affine[:3, :3].T.astype(np.float32) - middle) / FACE_MM
    inside: NDArray[np.bool_] = np.square(distance).sum(axis=-1) < 1
    return inside


def centre(grid: Grid) -> NDArray[np.float64]:
    """The centre of a grid in RAS+ millimetres."""
    middle: NDArray[np.float64] = (grid.affine @ [*((np.array(grid.shape) - 1) / 2), 1])[:3]
    return middle


def random_motion(about: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """A rotation by up to 15 degrees about a random axis, and a shift by up to 20 mm, (4, 4)."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in random.normal(size=(2, 3)))
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.deg2rad(random.uniform(0, MAX_DEGREES)) * axis).as_matrix()
    motion[:3, 3] = about + random.uniform(0, MAX_SHIFT_MM) * direction - motion[:3, :3] @ about
    return motion


def scan(head: Volume, motion: NDArray[np.float64], *, is_thick: bool) -> Volume:
    """An int16 series of a head that has moved: axial and thick, or sagittal; each voxel is a mean over the slice."""
    grid = series_grid(head.grid, is_thick=is_thick)
    parts = 5 if is_thick else 1
    total = np.zeros(grid.shape, np.float32)
    for part in range(parts):
        within = np.eye(4)
        within[2, 3] = (part + 0.5) / parts - 0.5
        to_head = np.linalg.inv(head.affine) @ np.linalg.inv(motion) @ grid.affine @ within
        total += ndimage.affine_transform(head.voxels, to_head, output_shape=grid.shape, order=1)
    scale = 1000 / np.percentile(total, 99)
    return Volume((total * scale).round().astype(np.int16), grid.affine)


def series_grid(head: Grid, *, is_thick: bool) -> Grid:
    """The grid of a series that covers a head; slices are along the last axis."""
    covering = covering_grid(head)
    axes, slice_mm = ([0, 1, 2], THICK_MM) if is_thick else ([1, 2, 0], THIN_MM)
    affine = covering.affine[:, [*axes, 3]] @ np.diag([1, 1, slice_mm, 1])
    x, y, z = (covering.shape[axis] for axis in axes)
    return Grid((x, y, int(z / slice_mm)), affine)

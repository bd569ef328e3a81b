"""A synthetic head with a tumour of known size, for first requests, warm-up and tests. Contains no patient data."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from service.imaging.case import GROUND_TRUTH, Modality
from service.imaging.labels import EnhancingLabel, Region, label_map
from service.imaging.nifti import encode_nifti
from service.imaging.volume import Grid, Volume

BRATS_GRID = Grid((240, 240, 155), np.diag([-1.0, -1.0, 1.0, 1.0]))  # LPS, 1 mm; the corner voxel is the origin
# 50 of its slices, cropped to the brain: the whole tumour at a fraction of the work.
SLAB_GRID = Grid((150, 180, 50), np.array([[-1, 0, 0, -45], [0, -1, 0, -30], [0, 0, 1, 71], [0, 0, 0, 1.0]]))

# The whole brain without most of the air around it: as large as the head itself on a screen, at a third of the work.
BRAIN_GRID = Grid((140, 172, 140), np.array([[-1, 0, 0, -50], [0, -1, 0, -36], [0, 0, 1, 8], [0, 0, 0, 1.0]]))

SUFFIXES = {Modality.T1: "t1", Modality.T1GD: "t1ce", Modality.T2: "t2", Modality.FLAIR: "flair", GROUND_TRUTH: "seg"}

EDGE_MM = 0.7
FOLDING_MM = 9  # amplitude of the cortical folding
TEXTURE = np.float32(0.15)  # amplitude, relative to the intensity
WAVES = np.random.default_rng(0).normal(scale=0.35, size=(12, 3)).astype(np.float32)  # radians per millimetre


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid in LPS millimetres."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]

    def depth_mm(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Approximate depth of points (..., 3) below the surface; negative outside."""
        scaled = (points - np.array(self.centre, np.float32)) / np.array(self.radii, np.float32)
        depth: NDArray[np.float32] = (1 - np.sqrt((scaled**2).sum(axis=-1))) * np.float32(min(self.radii))
        return depth

    @property
    def volume_ml(self) -> float:
        """Volume in millilitres."""
        return 4 / 3 * float(np.pi) * float(np.prod(self.radii)) / 1000


BRAIN = Ellipsoid((120, 122, 78), (66, 82, 66))
GREY_MATTER = Ellipsoid((120, 122, 78), (63, 79, 63))
WHITE_MATTER = Ellipsoid((120, 122, 78), (56, 72, 56))
VENTRICLES = (Ellipsoid((110, 120, 84), (7, 26, 9)), Ellipsoid((130, 120, 84), (7, 26, 9)))
TUMOUR = {
    Region.WT: Ellipsoid((150, 104, 96), (25, 28, 22)),
    Region.TC: Ellipsoid((152, 106, 97), (15, 17, 14)),
}
NECROSIS = Ellipsoid((152, 106, 97), (10, 11, 9))  # the rest of the core enhances

# Intensities in the order of the modalities.
TISSUES: Mapping[str, tuple[float, float, float, float]] = {
    "grey matter": (310, 330, 430, 350),
    "white matter": (400, 410, 330, 300),
    "fluid": (130, 140, 900, 90),
    "oedema": (290, 290, 700, 700),
    "enhancing": (200, 800, 560, 620),
    "necrosis": (170, 190, 800, 600),
}


def make_phantom(grid: Grid = BRATS_GRID) -> dict[str, Volume]:
    """The phantom's four modalities (int16) and ground truth (uint8) by role, sampled on any grid."""
    points = _points_lps(grid)
    brain = BRAIN.depth_mm(points) > 0
    images = np.zeros((len(Modality), *grid.shape), dtype=np.int16)
    images[:, brain] = _paint(points[brain])
    masks = {region: ellipsoid.depth_mm(points) > 0 for region, ellipsoid in TUMOUR.items()}
    masks[Region.ET] = masks[Region.TC] & (NECROSIS.depth_mm(points) <= 0)
    voxels = dict(zip(Modality, images, strict=True)) | {GROUND_TRUTH: label_map(masks, EnhancingLabel.BRATS_2022)}
    return {str(name): Volume(values, grid.affine) for name, values in voxels.items()}


def encode_phantom(volumes: Mapping[str, Volume]) -> dict[str, bytes]:
    """The phantom as NIfTI files by name, in the naming scheme of BraTS."""
    return {f"phantom/phantom_{SUFFIXES[name]}.nii.gz": encode_nifti(volume) for name, volume in volumes.items()}


def zip_files(files: Mapping[str, bytes]) -> bytes:
    """Files as one zip, as POST /segment accepts it."""
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        for name, data in files.items():
            archive.writestr(ZipInfo(name), data)  # no time stamp: equal files give equal zips
    return body.getvalue()


def _points_lps(grid: Grid) -> NDArray[np.float32]:
    """Position of each voxel in LPS millimetres, (X, Y, Z, 3)."""
    to_lps = (np.diag([-1, -1, 1, 1]) @ grid.affine).astype(np.float32)
    indices = np.moveaxis(np.indices(grid.shape, np.float32), 0, -1)
    points: NDArray[np.float32] = indices @ to_lps[:3, :3].T + to_lps[:3, 3]
    return points


def _paint(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intensities (4, N) at points (N, 3) of the brain; later tissues cover earlier ones."""
    waves = np.sin(points @ WAVES.T).mean(axis=-1)
    folds_mm = FOLDING_MM * waves
    layers = [(GREY_MATTER.depth_mm(points) + folds_mm, "grey matter")]
    layers += [(WHITE_MATTER.depth_mm(points) + 2 * folds_mm, "white matter")]
    layers += [(ventricle.depth_mm(points), "fluid") for ventricle in VENTRICLES]
    layers += [(TUMOUR[Region.WT].depth_mm(points), "oedema"), (TUMOUR[Region.TC].depth_mm(points), "enhancing")]
    layers += [(NECROSIS.depth_mm(points), "necrosis")]
    image = np.tile(_column("fluid"), len(points))
    for depth_mm, tissue in layers:
        fraction = expit(depth_mm / EDGE_MM)  # soft edges, as from partial volume
        image += fraction * (_column(tissue) - image)
    textured: NDArray[np.float32] = image * (1 + TEXTURE * waves)
    return textured


def _column(tissue: str) -> NDArray[np.float32]:
    return np.array(TISSUES[tissue], np.float32)[:, None]

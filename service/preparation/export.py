"""The prepared images of a case as files, for other programs."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.imaging.case import Case, Modality
from service.imaging.geometry import RAS_TO_LPS, resample, resample_mask
from service.imaging.nifti import encode_nifti
from service.imaging.volume import Grid, Volume
from service.preparation.preparation import Preparation

BRAIN_MASK_NAME = "brain_mask.nii.gz"
GROUND_TRUTH_NAME = "ground_truth.nii.gz"
IMAGE_NAMES: Mapping[Modality, str] = {modality: f"prepared_{modality.lower()}.nii.gz" for modality in Modality}
TRANSFORM_NAMES: Mapping[Modality, str] = {modality: f"registration_{modality.lower()}.tfm" for modality in Modality}


def prepared_files(
    case: Case, grid: Grid, header: Grid, preparation: Preparation | None, truth: NDArray[np.uint8] | None = None
) -> dict[str, bytes]:
    """By name: the images of a case whose series are at their place, resampled to a grid, without skull (float32).

    Files carry the affine of `header`, and so does the ground truth `truth`, if there is one. Of a raw case, also the
    mask of the brain on the grid of the reference, and for each registered series the transform in ITK's text format.
    """
    files = {}
    mask = case.brain_mask
    brain = resample_mask(mask.voxels != 0, mask.grid, grid) if mask else np.True_
    for modality, image in case.images.items():
        voxels = resample(image, grid).astype(np.float32)
        files[IMAGE_NAMES[modality]] = encode_nifti(Volume(voxels * brain, header.affine))
    if truth is not None:
        files[GROUND_TRUTH_NAME] = encode_nifti(Volume(truth, header.affine))
    if preparation:
        mask = preparation.brain_mask
        files[BRAIN_MASK_NAME] = encode_nifti(Volume((mask.voxels != 0).astype(np.uint8), mask.affine))
        for modality, series in preparation.series.items():
            files[TRANSFORM_NAMES[modality]] = itk_transform(series.motion).encode()
    return files


def itk_transform(motion: NDArray[np.float64]) -> str:
    """A motion (4, 4) in RAS+ millimetres as ITK stores it: in LPS, from points of the reference to the series."""
    matrix = RAS_TO_LPS @ np.linalg.inv(motion) @ RAS_TO_LPS
    parameters = " ".join(repr(float(value)) for value in [*matrix[:3, :3].ravel(), *matrix[:3, 3]])
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {parameters}\nFixedParameters: 0 0 0\n"
    )

"""Rigid registration of one series to another."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from service.imaging.geometry import RAS_TO_LPS
from service.imaging.volume import Volume

LAST_STEP_MM, RELAXATION, ITERATIONS = 0.02, 0.9, 100  # steps shrink slowly, to find narrow optima
HISTOGRAM_BINS = 32
SEED = 1

SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # more add in varying order, which changes the result


@dataclass(frozen=True)
class Level:
    """How exactly images are compared."""

    voxel_mm: float  # voxels are averaged until they are about as large
    samples: int  # voxels of the reference from which the metric is computed
    first_step_mm: float  # of the optimiser


COARSE, FINE = Level(4.0, 15_000, 4.0), Level(1.5, 20_000, 2.0)


@dataclass(frozen=True, order=True)
class Candidate:
    """A transform from points of the reference to points of the series, and its metric: the lower the better."""

    metric: float
    transform: SimpleITK.Euler3DTransform = field(compare=False)


def register(moving: Volume, fixed: Volume) -> NDArray[np.float64]:
    """The rigid motion (4, 4) that takes points of a series to those of the reference, both in RAS+ millimetres.

    It maximises Mattes mutual information, from several starts: the positions that the headers say, aligned centres of
    the fields of view, and aligned centres of mass.
    """
    images = _image(fixed, COARSE), _image(moving, COARSE)
    candidates = [_optimise(*images, start, COARSE) for start in _starts(*images)]
    best = _optimise(_image(fixed, FINE), _image(moving, FINE), min(candidates).transform, FINE)
    motion: NDArray[np.float64] = np.linalg.inv(_matrix(best.transform))
    return motion


def _image(volume: Volume, level: Level) -> SimpleITK.Image:
    """A volume as ITK has it, with its voxels averaged along each axis that is finer than the level."""
    affine = RAS_TO_LPS @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.voxels.T, np.float32))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    shrunk: SimpleITK.Image = SimpleITK.BinShrink(
        image, [max(1, round(level.voxel_mm / length)) for length in spacing.tolist()]
    )
    return shrunk


def _starts(fixed: SimpleITK.Image, moving: SimpleITK.Image) -> Iterable[SimpleITK.Euler3DTransform]:
    centring = SimpleITK.CenteredTransformInitializerFilter
    for how in (centring.GEOMETRY, centring.MOMENTS):
        centred = SimpleITK.CenteredTransformInitializer(fixed, moving, SimpleITK.Euler3DTransform(), how)
        yield SimpleITK.Euler3DTransform(centred)
    as_in_header = SimpleITK.Euler3DTransform()
    as_in_header.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in fixed.GetSize()]))
    yield as_in_header


def _optimise(
    fixed: SimpleITK.Image, moving: SimpleITK.Image, start: SimpleITK.Euler3DTransform, level: Level
) -> Candidate:
    """The best transform found from a start."""
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, level.samples / fixed.GetNumberOfPixels()), SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(level.first_step_mm, LAST_STEP_MM, ITERATIONS, RELAXATION)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = SimpleITK.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # the images do not overlap
        return Candidate(inf, transform)
    return Candidate(method.GetMetricValue(), transform)


def _matrix(transform: SimpleITK.Euler3DTransform) -> NDArray[Any]:
    """A rigid transform, which takes points of the reference to the series, as a matrix (4, 4) between RAS+ points."""
    matrix = np.eye(4)
    rotation, centre = np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetCenter())
    matrix[:3, :3] = rotation
    matrix[:3, 3] = centre + transform.GetTranslation() - rotation @ centre
    return RAS_TO_LPS @ matrix @ RAS_TO_LPS

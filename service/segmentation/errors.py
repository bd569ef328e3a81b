"""Everything that the core refuses, as one tree.

SegmentationError
├── InputError                the case cannot be segmented as it was sent
│   ├── MalformedImageError   not a NIfTI image, or a damaged one
│   ├── OversizedImageError   more voxels than the service takes
│   ├── ModalityError         a modality is missing or was found more than once
│   ├── GeometryError         grids disagree, or a grid is unusable
│   ├── IntensityError        voxel values that cannot be normalised
│   └── LabelError            a ground truth with unknown or mixed labels
└── WeightsError              a checkpoint cannot be used
"""


class SegmentationError(Exception):
    """Root of what the core raises; messages name what was expected and what came, never a path."""


class InputError(SegmentationError):
    """The case cannot be segmented as it was sent."""


class MalformedImageError(InputError):
    """Not a NIfTI image, or a damaged one."""


class OversizedImageError(InputError):
    """More voxels than the service takes."""


class ModalityError(InputError):
    """A modality is missing or was found more than once."""


class GeometryError(InputError):
    """The grids of the volumes disagree, or a grid is unusable."""


class IntensityError(InputError):
    """Voxel values that cannot be normalised."""


class LabelError(InputError):
    """A ground truth with unknown or mixed labels."""


class WeightsError(SegmentationError):
    """A checkpoint cannot be used."""

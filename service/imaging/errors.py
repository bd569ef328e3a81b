"""Exception hierarchy: why a case cannot be segmented.

InputError                the case cannot be segmented
├── MalformedImageError   not an image, or a damaged one
├── OversizedImageError   more voxels than the service accepts
├── ModalityError         a modality is missing or present more than once
├── GeometryError         the volumes' grids differ, or a grid is unusable
├── IntensityError        voxel values that cannot be normalised
├── LabelError            a ground truth with unknown or mixed labels
└── PreparationError      a raw scan that cannot be prepared for the networks
"""


class InputError(Exception):
    """The case cannot be segmented. Messages say what was expected and what was found, never a path."""


class MalformedImageError(InputError):
    """Not an image, or a damaged one."""


class OversizedImageError(InputError):
    """More voxels than the service accepts."""


class ModalityError(InputError):
    """A modality is missing or present more than once."""


class GeometryError(InputError):
    """The volumes' grids differ, or a grid is unusable."""


class IntensityError(InputError):
    """Voxel values that cannot be normalised."""


class LabelError(InputError):
    """A ground truth with unknown or mixed labels."""


class PreparationError(InputError):
    """A raw scan that cannot be prepared for the networks."""

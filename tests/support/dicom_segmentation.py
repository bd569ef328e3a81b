"""An independent reader of DICOM segmentations: places every frame by its position in the patient, as a viewer does."""

from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread

from service.imaging.volume import Grid

RAS_TO_LPS = np.diag([-1.0, -1, 1, 1])


def read_segments(data: bytes, grid: Grid) -> dict[str, np.ndarray]:
    """The mask (X, Y, Z) of each segment by its tracking id, on the grid of the series that it refers to."""
    dataset = dcmread(BytesIO(data))
    names = {segment.SegmentNumber: segment.TrackingID for segment in dataset.SegmentSequence}
    masks = {name: np.zeros(grid.shape, bool) for name in names.values()}
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for pixels, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        row, column = np.nonzero(pixels)
        points = _points(dataset, groups, row, column)
        indices = np.linalg.inv(RAS_TO_LPS @ grid.affine) @ points
        rounded = indices[:3].round().astype(int)
        assert np.abs(indices[:3] - rounded).max(initial=0) < 0.01, "a pixel is not at the centre of a voxel"
        masks[names[number]][tuple(rounded)] = True
    return masks


def _points(dataset: Dataset, groups: Dataset, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Positions (4, N) of pixels in LPS+ millimetres (DICOM PS3.3, equation C.7.6.2.1-1)."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
    along_row, along_column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = (
        position[:, None] + np.outer(along_row, between_columns * column) + np.outer(along_column, between_rows * row)
    )
    return np.vstack([points, np.ones(row.size)])

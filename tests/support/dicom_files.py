"""DICOM files of images with known voxels and grids, as scanners and archives write them."""

from io import BytesIO
from itertools import count

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from service.imaging.case import Modality
from service.imaging.volume import Volume

PATIENT = "DOE^JANE"
RAS_TO_LPS = np.diag([-1.0, -1, 1, 1])

# What a scanner writes about its sequences.
SEQUENCES: dict[Modality, dict[str, object]] = {
    Modality.T1: {"SeriesDescription": "AX T1 PRE", "EchoTime": 9, "RepetitionTime": 550, "ScanningSequence": "SE"},
    Modality.T1GD: {
        "SeriesDescription": "AX T1 POST",
        "EchoTime": 9,
        "RepetitionTime": 550,
        "ScanningSequence": "SE",
        "ContrastBolusAgent": "GADOVIST",
    },
    Modality.T2: {"SeriesDescription": "AX T2", "EchoTime": 95, "RepetitionTime": 4500, "ScanningSequence": "SE"},
    Modality.FLAIR: {
        "SeriesDescription": "AX FLAIR",
        "EchoTime": 120,
        "RepetitionTime": 9000,
        "InversionTime": 2500,
        "ScanningSequence": ["SE", "IR"],
    },
}
LOCALISER = {"SeriesDescription": "LOCALIZER", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "EchoTime": 5}


def make_series(volume: Volume, number: int, **attributes: object) -> list[Dataset]:
    """One data set for each slice of a volume (X, Y, Z): X along the rows of pixels, Z from slice to slice."""
    series_uid, affine = generate_uid(), RAS_TO_LPS @ volume.affine
    return [
        make_slice(volume.voxels[..., index], affine @ _shift(index), index, series_uid, number, **attributes)
        for index in range(volume.voxels.shape[2])
    ]


def make_slice(
    pixels: np.ndarray, affine: np.ndarray, index: int, series_uid: str, number: int, **attributes: object
) -> Dataset:
    """The data set of one slice (X, Y)."""
    dataset = _header(MRImageStorage, series_uid, number, **attributes)
    dataset.InstanceNumber = index + 1
    dataset.update(_position(affine))
    dataset.update(_orientation(affine))
    dataset.PixelSpacing = _spacing(affine)
    _add_pixels(dataset, pixels.T)
    return dataset


def make_enhanced(volume: Volume, number: int, **attributes: object) -> Dataset:
    """One enhanced multi-frame data set with all slices of a volume; timing is in functional groups."""
    affine = RAS_TO_LPS @ volume.affine
    attributes = {"ImageType": ["ORIGINAL", "PRIMARY"], **attributes}
    timing = {
        name: attributes.pop(name) for name in ("EchoTime", "RepetitionTime", "InversionTime") if name in attributes
    }
    dataset = _header(EnhancedMRImageStorage, generate_uid(), number, **attributes)
    echo, repetition, modifier, frame_type = Dataset(), Dataset(), Dataset(), Dataset()
    echo.EffectiveEchoTime = timing["EchoTime"]
    repetition.RepetitionTime = timing["RepetitionTime"]
    if "InversionTime" in timing:
        modifier.InversionTimes = [timing["InversionTime"]]
    frame_type.FrameType = attributes["ImageType"]
    shared = Dataset()
    shared.MREchoSequence, shared.MRTimingAndRelatedParametersSequence = [echo], [repetition]
    shared.MRModifierSequence, shared.MRImageFrameTypeSequence = [modifier], [frame_type]
    shared.PlaneOrientationSequence = [_orientation(affine)]
    measures = Dataset()
    measures.PixelSpacing = _spacing(affine)
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for index in range(volume.voxels.shape[2]):
        groups = Dataset()
        groups.PlanePositionSequence = [_position(affine @ _shift(index))]
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    dataset.NumberOfFrames = volume.voxels.shape[2]
    _add_pixels(dataset, volume.voxels.transpose(2, 1, 0))
    return dataset


def encode(dataset: Dataset) -> bytes:
    """A data set as a DICOM file."""
    body = BytesIO()
    dcmwrite(body, dataset, enforce_file_format=True)
    return body.getvalue()


def encode_all(*series: list[Dataset]) -> dict[str, bytes]:
    """Files by name; names say nothing, as in an archive's export."""
    numbers = count()
    return {f"DICOM/IM{next(numbers):05}": encode(dataset) for datasets in series for dataset in datasets}


def make_study(volumes: dict[Modality, Volume]) -> dict[str, bytes]:
    """The files of a study: a localiser and one classic series for each modality."""
    localiser = Volume(np.ones((32, 32, 1), np.int16), np.diag([8.0, 8, 8, 1]))
    series = (
        make_series(volumes[role], 2 + n, **SEQUENCES[role]) for n, role in enumerate(Modality) if role in volumes
    )
    return encode_all(make_series(localiser, 1, **LOCALISER), *series)


def _header(sop_class: str, series_uid: str, number: int, **attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT, PATIENT, "19700101"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "1.2.3.4", "1.2.3.5"
    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = "MR", series_uid, number
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def _add_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Add pixels (Y, X) or frames (Z, Y, X)."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OW"


def _position(affine: np.ndarray) -> Dataset:
    dataset = Dataset()
    dataset.ImagePositionPatient = [round(float(value), 6) for value in affine[:3, 3]]
    return dataset


def _orientation(affine: np.ndarray) -> Dataset:
    dataset = Dataset()
    directions = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    dataset.ImageOrientationPatient = [round(float(value), 8) for value in directions.T.ravel()]
    return dataset


def _spacing(affine: np.ndarray) -> list[float]:
    """Between rows, then between columns."""
    along_row, along_column = np.linalg.norm(affine[:3, :2], axis=0)
    return [round(float(along_column), 6), round(float(along_row), 6)]


def _shift(index: int) -> np.ndarray:
    shift = np.eye(4)
    shift[2, 3] = index
    return shift

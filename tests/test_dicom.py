"""Reading DICOM studies: geometry, voxels, and series that cannot be used."""

from collections.abc import Callable
from io import BytesIO
from mmap import mmap

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from scipy.spatial.transform import Rotation
from support.dicom_files import SEQUENCES, encode_all, make_enhanced, make_series, make_study

from service.dicom.study import is_study, read_study
from service.imaging.case import Case, Modality
from service.imaging.errors import MalformedImageError, ModalityError
from service.imaging.geometry import reorder
from service.imaging.volume import Volume

SHAPE = (6, 7, 5)
RNG = np.random.default_rng(0)
SPACING = np.diag([0.9, 0.8, 5.0, 1.0])


def turned(axes: str, degrees: tuple[float, ...]) -> np.ndarray:
    """An affine of SPACING turned from axial slices."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler(axes, degrees, degrees=True).as_matrix()
    affine[:3, 3] = (12.5, -80.25, 31.125)
    return affine @ SPACING


ORIENTATIONS = {
    "axial": turned("z", (180,)),
    "coronal": turned("x", (90,)),
    "sagittal": turned("yx", (90, 90)),
    "oblique": turned("xyz", (12, -25, 40)),
    "reversed": turned("x", (180,)),
}


def volume(affine: np.ndarray = ORIENTATIONS["axial"], shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> Volume:
    return Volume(RNG.integers(-1000 if dtype == "int16" else 0, 1000, shape).astype(dtype), affine)


def volumes(affine: np.ndarray = ORIENTATIONS["axial"]) -> dict[Modality, Volume]:
    return {modality: volume(affine) for modality in Modality}


def read(files: dict[str, bytes], allow_missing: bool = False, **wanted: int) -> Case:
    opened = Opened(files)
    assert is_study(opened)
    numbers = {Modality[name]: number for name, number in wanted.items()}
    return read_study(opened, numbers, allow_missing, lambda _, size_bytes: mmap(-1, size_bytes))


class Opened(dict):
    """Files that are opened anew at each access, like those of a zip."""

    def __getitem__(self, name: str) -> BytesIO:
        return BytesIO(super().__getitem__(name))

    def values(self):
        return map(self.__getitem__, self)

    def items(self):
        return zip(self, self.values(), strict=True)


def check_same(found: Volume, expected: Volume) -> None:
    """Whether two volumes have the same voxels at the same places, in whatever order."""
    same_axes = reorder(found, expected.affine[:3, :3])
    assert np.allclose(same_axes.affine, expected.affine, atol=1e-4)
    assert (same_axes.voxels == expected.voxels).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_voxel_is_at_its_place(orientation):
    expected = volumes(ORIENTATIONS[orientation])
    case = read(make_study(expected))
    for modality in Modality:
        check_same(case.images[modality], expected[modality])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_enhanced_files_are_read_like_classic_ones(orientation):
    expected = volumes(ORIENTATIONS[orientation])
    case = read(encode_all([make_enhanced(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)]))
    for modality in Modality:
        check_same(case.images[modality], expected[modality])
    assert case.series[Modality.FLAIR].reason == "TI from 1550, TR from 3500 and TE from 40 ms"


def test_the_order_of_files_and_other_objects_do_not_matter():
    expected = volumes()
    files = make_study(expected)
    shuffled = {f"{number}": files[name] for number, name in enumerate(RNG.permutation(list(files)))}
    shuffled |= {"DICOMDIR": b"\0" * 128 + b"DICM", "copy": files["DICOM/IM00003"], "readme.txt": b"see the viewer"}
    case = read(shuffled)
    for modality in Modality:
        check_same(case.images[modality], expected[modality])


def test_scaled_pixels_are_read_as_they_are_meant():
    expected = volumes()
    series = {role: make_series(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)}
    for number, dataset in enumerate(series[Modality.T2]):
        dataset.RescaleSlope, dataset.RescaleIntercept = number + 1, -5
    images = read(encode_all(*series.values())).images
    assert images[Modality.T2].voxels.dtype == np.float32
    scaled = expected[Modality.T2].voxels * np.arange(1, 6) - 5.0
    check_same(images[Modality.T2], Volume(scaled, expected[Modality.T2].affine))
    check_same(images[Modality.T1], expected[Modality.T1])


def without_a_slice(series: list[Dataset]) -> None:
    del series[2]


def irregular(series: list[Dataset]) -> None:
    series[2].ImagePositionPatient[2] += 1.5


def displaced(series: list[Dataset]) -> None:
    series[2].ImagePositionPatient[0] += 2


def tilted(series: list[Dataset]) -> None:
    for number, dataset in enumerate(series):
        dataset.ImagePositionPatient[1] += 0.5 * number


def repeated(series: list[Dataset]) -> None:
    series[2].ImagePositionPatient = series[3].ImagePositionPatient


def mosaic(series: list[Dataset]) -> None:
    for dataset in series:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "MOSAIC"]


def skewed(series: list[Dataset]) -> None:
    for dataset in series:
        dataset.ImageOrientationPatient = [1, 0, 0, 0.5, 0.8, 0]


def single(series: list[Dataset]) -> None:
    del series[1:]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (without_a_slice, "missing slices: 1"),
        (irregular, "irregular distances between slices, 3.50 to 6.50 mm"),
        (displaced, "slices that are displaced against each other"),
        (tilted, "slices that are not perpendicular to their stack (gantry tilt)"),
        (repeated, "several frames at one position"),
        (mosaic, "mosaic images"),
        (skewed, "directions that are not perpendicular unit vectors"),
        (single, "a single slice"),
    ],
)
def test_a_series_without_a_regular_grid_is_refused(damage: Callable[[list[Dataset]], None], fault: str):
    expected = volumes()
    series = {role: make_series(expected[role], n, **SEQUENCES[role]) for n, role in enumerate(Modality)}
    damage(series[Modality.FLAIR])
    with pytest.raises(ModalityError) as raised:
        read(encode_all(*series.values()))
    assert str(raised.value).startswith("FLAIR: no usable series. Found: ")
    assert f"series 3: FLAIR ({fault})" in str(raised.value)


def test_files_without_meta_header_or_instance_uid_are_read():
    expected = volumes()
    files = {}
    for name, data in make_study(expected).items():
        dataset, body = dcmread(BytesIO(data)), BytesIO()
        del dataset.SOPInstanceUID
        dcmwrite(body, Dataset(dataset), implicit_vr=True, little_endian=True)
        files[name] = body.getvalue()
    case = read(files)
    for modality in Modality:
        check_same(case.images[modality], expected[modality])


def test_damaged_pixels_are_an_error():
    series = [make_series(volume(), n, **SEQUENCES[role]) for n, role in enumerate(Modality)]
    series[2][1].PixelData = series[2][1].PixelData[:20]
    with pytest.raises(MalformedImageError, match="T2: expected whole images in series 2"):
        read(encode_all(*series))

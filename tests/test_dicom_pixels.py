"""Compressed DICOM images, and headers with hostile values."""

import contextlib
from io import BytesIO
from pathlib import Path

import gdcm
import pytest
from pydicom import dcmread
from support.dicom_files import SEQUENCES, encode, encode_all, make_series
from test_dicom import check_same, read, volume, volumes

from service.imaging.case import Modality
from service.imaging.errors import InputError

COMPRESSIONS = {
    "JPEG Lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
    "RLE": gdcm.TransferSyntax.RLELossless,
    "deflated": gdcm.TransferSyntax.DeflatedExplicitVRLittleEndian,
    "implicit": gdcm.TransferSyntax.ImplicitVRLittleEndian,
}
SHAPE = (64, 48, 3)  # JPEG 2000 needs some pixels for its resolution levels


def transcode(data: bytes, syntax: int, folder: Path) -> bytes:
    """The same DICOM file in another transfer syntax."""
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(data)
    reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target.read_bytes()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_images_are_decoded(compression, signed, tmp_path):
    expected = {role: volume(shape=SHAPE, dtype="int16" if signed else "uint16") for role in Modality}
    series = [make_series(image, number, **SEQUENCES[role]) for number, (role, image) in enumerate(expected.items())]
    files = {name: transcode(data, COMPRESSIONS[compression], tmp_path) for name, data in encode_all(*series).items()}
    case = read(files)
    for modality in Modality:
        check_same(case.images[modality], expected[modality])


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Rows", 65535),
        ("Rows", 0),
        ("NumberOfFrames", 2**31 - 1),
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [1e-300, 1e300]),
        ("ImagePositionPatient", [1e308, 0, 0]),
        ("ImagePositionPatient", [0, 0]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("SamplesPerPixel", 3),
        ("BitsAllocated", 64),
        ("BitsStored", 1),
        ("PhotometricInterpretation", "PALETTE COLOR"),
        ("RescaleSlope", 1e300),
        ("EchoTime", [5, 6, 7]),
    ],
)
def test_a_hostile_header_is_an_input_error_or_harmless(keyword, value):
    series = [make_series(image, n, **SEQUENCES[role]) for n, (role, image) in enumerate(volumes().items())]
    for dataset in series[3]:
        setattr(dataset, keyword, value)
    with contextlib.suppress(InputError):
        assert read(encode_all(*series)).images[Modality.FLAIR].voxels.shape == (6, 7, 5)


@pytest.mark.parametrize("length", [0, 3, 131, 132, 140, 300, 600])
def test_a_truncated_file_is_not_used(length):
    data = encode(make_series(volumes()[Modality.T1], 1, **SEQUENCES[Modality.T1])[0])
    files = encode_all(*(make_series(image, n, **SEQUENCES[role]) for n, (role, image) in enumerate(volumes().items())))
    assert len(read(files | {"damaged": data[:length]}).images) == 4


def test_transcoding_changes_the_file(tmp_path):
    data = encode(make_series(volumes()[Modality.T1], 1)[0])
    compressed = transcode(data, COMPRESSIONS["JPEG-LS"], tmp_path)
    assert dcmread(BytesIO(compressed)).file_meta.TransferSyntaxUID.is_compressed

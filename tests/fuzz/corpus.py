"""Small uploads, valid and malicious ones, and the values from which fuzzed uploads are made.

An upload is the files of a job folder by name: one zip named `file`, or one file per modality.
"""

import gzip
import zlib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from itertools import chain
from zipfile import ZIP_STORED

import nibabel as nib
import numpy as np
from pydicom.uid import RLELossless
from support.case_files import MODALITY_NAMES, make_nifti, make_zip
from support.dicom_files import SEQUENCES, encode_all, make_enhanced, make_series
from support.malicious_archives import ARCHIVES
from support.malicious_images import IMAGES
from support.text_formats import METAIMAGE_HEADER, NRRD_HEADER, VOXELS

from service.imaging.case import Modality
from service.imaging.volume import Volume
from service.intake.archive import ZIP_NAME

Upload = Mapping[str, bytes]

SECRET = "DOE^JANE"  # in names and free text; no message may contain it
SHAPES = ((3, 3, 3), (4, 3, 2), (1, 1, 1), (8, 9, 10))
MAX_CORPUS_ENTRY_BYTES = 2**15  # larger uploads take seconds, and tests cover them
MAX_MALICIOUS_BYTES = 2**21

INTERESTING_INTEGERS = (0, 1, 2, 3, 8, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
INTERESTING_REALS = (0.0, -0.0, 1.0, -1.0, 352.0, 1e-45, 1e-30, 1e30, 3.4e38, float("nan"), float("inf"), -float("inf"))


@cache
def make_image(shape: tuple[int, int, int], seed: int = 0) -> bytes:
    """A small NIfTI file."""
    return make_nifti(np.random.default_rng(seed).integers(1, 999, shape).astype(np.int16))


@cache
def other_formats() -> tuple[bytes, ...]:
    """Small images in the formats other than NIfTI-1."""
    voxels = np.ones((3, 3, 3), np.int16)
    inflated = METAIMAGE_HEADER.encode() + VOXELS, NRRD_HEADER.encode() + VOXELS
    metaimage = METAIMAGE_HEADER.replace("CompressedData = False", "CompressedData = True").encode()
    nrrd = NRRD_HEADER.replace("encoding: raw", "encoding: gzip").encode()
    deflated = metaimage + zlib.compress(VOXELS), nrrd + gzip.compress(VOXELS)
    binary = [make(voxels, np.eye(4)).to_bytes() for make in (nib.Nifti2Image, nib.MGHImage)]
    return *inflated, *deflated, *binary


@cache
def studies() -> tuple[Mapping[str, bytes], ...]:
    """The files of small DICOM studies: classic, compressed and enhanced."""
    images = {role: Volume(np.ones((4, 3, 2), np.int16), np.eye(4)) for role in Modality}
    classic = [make_series(image, n, **SEQUENCES[role]) for n, (role, image) in enumerate(images.items())]
    compressed = deepcopy(classic)
    for dataset in chain(*compressed):
        dataset.compress(RLELossless)
    enhanced = [make_enhanced(image, n, **SEQUENCES[role]) for n, (role, image) in enumerate(images.items())]
    return encode_all(*classic), encode_all(*compressed), encode_all(enhanced)


@cache
def corpus() -> tuple[tuple[Upload, ...], tuple[Upload, ...]]:
    """Uploads to mutate: zips, both valid and malicious ones, and sets of one file per modality."""
    valid = {f"{SECRET}/{name}.nii": make_image((3, 3, 3)) for name in (*MODALITY_NAMES, "seg")}
    gzipped = {f"{name}.gz": gzip.compress(data) for name, data in valid.items()}
    bodies = [make_zip(valid), make_zip(valid, ZIP_STORED), make_zip(gzipped), make_zip(gzipped, ZIP_STORED)]
    bodies += map(make_zip, studies())
    bodies += [upload.make_body() for upload in (*ARCHIVES.values(), *IMAGES.values())]
    parts = [dict(zip((*MODALITY_NAMES, "seg"), files.values(), strict=True)) for files in (valid, gzipped)]
    parts += [dict.fromkeys(MODALITY_NAMES, data) for data in other_formats()]
    return tuple({ZIP_NAME: body} for body in bodies if len(body) <= MAX_CORPUS_ENTRY_BYTES), tuple(parts)


@cache
def valid_uploads() -> list[Upload]:
    """Valid cases: a zip, and one file per modality."""
    files = {name: make_image((8, 9, 10), number) for number, name in enumerate(MODALITY_NAMES)}
    return [{ZIP_NAME: make_zip({f"{SECRET}_{name}.nii": data for name, data in files.items()})}, files]


@cache
def malicious_bodies() -> list[bytes]:
    """The malicious uploads, except those that take longer to send than to reject."""
    bodies = (upload.make_body() for upload in (*ARCHIVES.values(), *IMAGES.values()))
    return [body for body in bodies if len(body) <= MAX_MALICIOUS_BYTES]

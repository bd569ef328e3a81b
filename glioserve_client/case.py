"""A case in any of the forms that a caller may give it in, packed as the zip that is sent."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import file_digest, sha256
from os import PathLike
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, is_zipfile

from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from glioserve_client.errors import InvalidCaseError
from glioserve_client.images import write_image
from glioserve_client.names import ENDINGS, image_name, is_dicom, is_hidden
from glioserve_client.options import Options

Image = str | PathLike[str] | SpatialImage | tuple[NDArray[Any], NDArray[Any]]
Case = str | PathLike[str] | Mapping[str, Image]

FAST = 1  # compression level; higher ones take much longer and save little
COPY_BYTES = 2**20


@dataclass(frozen=True)
class PackedCase:
    """A zip on disk."""

    path: Path
    sha256: str  # of the whole zip

    @property
    def size_bytes(self) -> int:
        """Size of the zip. Raises OSError."""
        return self.path.stat().st_size

    def idempotency_key(self, options: Options) -> str:
        """A key that is equal for the same zip with the same options."""
        words = [self.sha256, *(f"{name}={value}" for name, value in sorted(options.query.items()))]
        return sha256(" ".join(words).encode()).hexdigest()


def pack(case: Case, folder: Path) -> PackedCase:
    """Make the zip of a case in a folder, in the same way every time; one that exists already is used as it is.

    File names are not sent, as they may contain a patient's name. Raises InvalidCaseError or OSError.
    """
    if isinstance(case, Mapping):
        path = _write_zip(folder, _named_images(case, folder))
    elif not str(case):  # Path("") is the current folder, and would send whatever lies in it
        raise InvalidCaseError("Case: expected a path, found an empty one.")
    elif Path(case).is_dir():
        path = _write_zip(folder, _files_of(Path(case)))
    else:
        path = Path(case)
        if not is_zipfile(path):
            found = "another format" if path.exists() else "nothing"
            raise InvalidCaseError(f"{path}: expected a zip, or a folder of images, found {found}.")
    with path.open("rb") as file:
        return PackedCase(path, file_digest(file, "sha256").hexdigest())


def _named_images(case: Mapping[str, Image], folder: Path) -> list[tuple[str, Path]]:
    """The images of a mapping, as names in the zip and files. Raises InvalidCaseError."""
    names = [name.lower() for name in case]
    if unknown := [name for name in case if name.lower() not in ENDINGS]:
        raise InvalidCaseError(f"Case: expected names from {', '.join(ENDINGS)}, found {unknown[0]!r}.")
    if len(set(names)) < len(names):
        raise InvalidCaseError("Case: expected every name once, found one twice, in upper and lower case.")
    return [entry for name, image in sorted(case.items()) for entry in _named_image(name.lower(), image, folder)]


def _named_image(name: str, image: Image, folder: Path) -> list[tuple[str, Path]]:
    """The entry of an image; two for a pair of .hdr and .img."""
    if isinstance(image, SpatialImage | tuple):
        path = folder / f"{name}.nii"
        write_image(path, name, image)
        return [(path.name, path)]
    path = Path(image)
    if not path.is_file():
        raise InvalidCaseError(f"{name}: expected a file, an image or a pair of array and affine, found {path}.")
    if path.suffix.lower() == ".hdr":
        return [(f"{name}.hdr", path), (f"{name}.img", path.with_suffix(".img"))]
    return [(f"{name}.nii", path)]  # the service recognises the format by the content


def _files_of(folder: Path) -> list[tuple[str, Path]]:
    """The files of a folder that belong to the case: images, otherwise DICOM files. Raises InvalidCaseError."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not is_hidden(path))
    images = [(name, path) for path in paths if (name := image_name(path))]
    files = images or [("", path) for path in paths if is_dicom(path)]
    if not files:
        raise InvalidCaseError(
            f"{folder}: expected images whose names end in one of {', '.join(ENDINGS)}, or DICOM files, found neither."
        )
    return [(f"{number:05}/{name}" if name else f"{number:05}", path) for number, (name, path) in enumerate(files)]


def _write_zip(folder: Path, files: Iterable[tuple[str, Path]]) -> Path:
    target = folder / "case.zip"
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=FAST) as archive:
        for name, path in files:
            # A name instead of a path: the entry gets no date, so the same case makes the same zip.
            with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as output:
                shutil.copyfileobj(source, output, COPY_BYTES)
    return target

"""Reading a case from its files."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, BinaryIO

from service.imaging.case import Case, case_of
from service.imaging.formats import open_image
from service.imaging.names import assign_roles, is_image_name


def read_case(files: Mapping[str, bytes]) -> Case:
    """Read a case from a mapping of file names to the bytes of images. Raises like `read_case_from`."""
    return read_case_from({name: BytesIO(data) for name, data in files.items()})


def read_case_from(
    files: Mapping[str, BinaryIO], allocate: Callable[[str, int], Any] = lambda _, size_bytes: bytearray(size_bytes)
) -> Case:
    """Read a case from a mapping of file names to open images; files whose names have no role are ignored.

    All headers are checked before any voxel is read and before `allocate` is called, which takes a role and a size in
    bytes and returns a writable buffer.
    Raises ModalityError, MalformedImageError, OversizedImageError or GeometryError.
    """
    roles = assign_roles(filter(is_image_name, files))
    opened = {role: [files[name] for name in names] for role, names in roles.items()}  # an archive limits their size
    images = {role: open_image(of_role, role) for role, of_role in opened.items()}
    with ThreadPoolExecutor() as threads:
        read = threads.map(lambda image: image.read(allocate(image.name, image.size_bytes)), images.values())
        return case_of(dict(zip(images, read, strict=True)))

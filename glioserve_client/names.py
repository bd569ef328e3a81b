"""What the files of a case are, by the ending of their names, as the service reads them (docs/api.md)."""

import re
from pathlib import Path

EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mgh", ".mgz", ".hdr", ".img", ".hdr.gz", ".img.gz")
ENDINGS = ("t1", "t1n", "t1ce", "t1c", "t1gd", "t2", "t2w", "flair", "t2f", "seg", "mask")
DICOM_MAGIC, DICOM_PREAMBLE_BYTES = b"DICM", 128
DICOM_WITHOUT_PREAMBLE = (b"\x02\x00", b"\x08\x00")  # some archives export files that start with the first element


def image_name(path: Path) -> str | None:
    """What is sent instead of a file's name, which may be a patient's: ending and extension; None for other files."""
    name = path.name.lower()
    extension = max((end for end in EXTENSIONS if name.endswith(end)), key=len, default="")
    ending = re.split(r"[_\-. ]", name.removesuffix(extension))[-1]
    return ending + extension if extension and ending in ENDINGS and not is_hidden(path) else None


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(DICOM_PREAMBLE_BYTES + len(DICOM_MAGIC))
    return head[DICOM_PREAMBLE_BYTES:] == DICOM_MAGIC or head.startswith(DICOM_WITHOUT_PREAMBLE)


def is_hidden(path: Path) -> bool:
    """Whether a file is hidden, as are those that macOS adds."""
    return path.name.startswith(".")

"""The cases in the paths that a user gives."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glioserve_client.names import image_name, is_dicom, is_hidden
from service.command_line.segment.arguments import UsageError

ZIP_EXTENSION = ".zip"


@dataclass(frozen=True)
class FoundCase:
    """A case on disk, and the name that its results get."""

    name: str
    path: Path


@dataclass(frozen=True)
class Finding:
    """The cases in some paths, and what was found besides them."""

    cases: Sequence[FoundCase]
    others: Sequence[Path]


def find_cases(paths: Iterable[Path], out: Path) -> Finding:
    """The cases in paths; the folder of the results is left out.

    Raises UsageError if a path has none, or if two cases have the same name; and OSError.
    """
    cases: list[FoundCase] = []
    others: list[Path] = []
    for path in paths:
        finding = _cases_in(path, out.resolve())
        cases += finding.cases
        others += finding.others
    name, count = Counter(case.name for case in cases).most_common(1)[0]
    if count > 1:
        raise UsageError(f"PATH: expected cases with different names, found {name} {count} times")
    return Finding(cases, others)


def _cases_in(path: Path, out: Path) -> Finding:
    if path.is_file():
        return Finding([_case_at(path)], [])
    if not path.is_dir():
        raise UsageError(f"PATH: expected a zip or a folder, found nothing at {path}")
    entries = sorted(entry for entry in path.iterdir() if not is_hidden(entry) and entry.resolve() != out)
    if _is_case(entries):
        return Finding([_case_at(path)], [])
    cases = [_case_at(entry) for entry in entries if entry.is_dir() or _is_zip(entry)]
    if not cases:
        raise UsageError(f"PATH: expected images, DICOM files, zips or folders of cases in {path}, found none")
    return Finding(cases, [entry for entry in entries if not (entry.is_dir() or _is_zip(entry))])


def _case_at(path: Path) -> FoundCase:
    return FoundCase(path.stem if _is_zip(path) else path.resolve().name, path)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ZIP_EXTENSION


def _is_case(entries: Sequence[Path]) -> bool:
    """Whether a folder with these entries is one case: it has images or DICOM files, or folders of one study."""
    files = [entry for entry in entries if entry.is_file()]
    if any(image_name(file) or is_dicom(file) for file in files):
        return True
    studies = {_study_in(entry) for entry in entries if entry.is_dir()}
    return len(studies) == 1 and None not in studies and not any(map(_is_zip, files))


def _study_in(folder: Path) -> str | None:
    """The StudyInstanceUID of the first DICOM file in a folder and those below it."""
    from pydicom import dcmread  # importing it takes a second

    for path in sorted(folder.rglob("*")):
        if path.is_file() and not is_hidden(path) and is_dicom(path):
            dataset = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["StudyInstanceUID"])
            return str(dataset.get("StudyInstanceUID", ""))
    return None

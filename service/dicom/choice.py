"""The choice of a study's series: for each modality the best stack, or a clear error if that is not certain."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.dicom.roles import role_of
from service.dicom.stacks import Stack
from service.imaging.case import Modality
from service.imaging.errors import ModalityError

MIN_COVERAGE_MM = 100  # of the head, from the first to the last slice
MAX_LISTED = 30  # series in a message


@dataclass(frozen=True)
class Candidate:
    """A stack, the modality that it has by the rules, and why."""

    stack: Stack
    role: Modality | None
    reason: str

    @property
    def rank(self) -> tuple[float, ...]:
        """Lower is better: originals before derived images, whole heads before parts, then the finest voxels."""
        grid = self.stack.grid
        spacing = sorted(grid.spacing_mm)
        is_derived = "DERIVED" in self.stack.frames[0].text("ImageType").upper()
        covers_little = grid.spacing_mm[2] * grid.shape[2] < MIN_COVERAGE_MM
        return (covers_little, is_derived, round(spacing[2], 1), round(spacing[0] * spacing[1] * spacing[2], 2))

    def __str__(self) -> str:
        reason = (self.stack.fault if self.role else "") or self.reason
        return f"series {self.stack.number}: {self.role or 'not used'} ({reason})"


Chosen = Mapping[Modality, Candidate]


def choose_series(stacks: Sequence[Stack], wanted: Mapping[Modality, int], allow_missing: bool = False) -> Chosen:
    """The best stack for each modality that the study has; `wanted` are SeriesNumbers that the caller decided on.

    Raises ModalityError if the series are of several studies, if two are equally good, if a wanted series is not
    usable, or if a modality is missing, unless at least one is found and others may be missing.
    """
    candidates = [Candidate(stack, *role_of(stack.frames[0])) for stack in stacks]
    _check_one_study([candidate for candidate in candidates if candidate.role and not candidate.stack.fault])
    chosen = {}
    for modality in Modality:
        if modality in wanted:
            chosen[modality] = _wanted(candidates, modality, wanted[modality])
        elif usable := [c for c in candidates if c.role == modality and not c.stack.fault]:
            chosen[modality] = _best(usable, modality, candidates)
    missing = [modality for modality in Modality if modality not in chosen]
    if missing and not (allow_missing and chosen):
        raise ModalityError(f"{', '.join(missing)}: no usable series. {describe(candidates)}")
    return chosen


def describe(candidates: Sequence[Candidate]) -> str:
    """What was found, for a message."""
    by_number = sorted(candidates, key=lambda candidate: candidate.stack.number)
    listed = list(dict.fromkeys(map(str, by_number)))  # parts of a series are often alike
    more = [f"and {len(listed) - MAX_LISTED} more"] if len(listed) > MAX_LISTED else []
    return f"Found: {'; '.join([*listed[:MAX_LISTED], *more])}." if listed else "Found no MR image."


def _check_one_study(usable: Sequence[Candidate]) -> None:
    """Raise ModalityError if series are of several studies or patients: the result would mix them."""
    studies: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for candidate in usable:
        studies[candidate.stack.study].add(candidate.stack.number)
    if len(studies) > 1:
        found = "; ".join(", ".join(map(str, sorted(numbers))) for numbers in studies.values())
        raise ModalityError(
            f"DICOM: expected one study of one patient, found {len(studies)}, with the series {found}. "
            "Send one study at a time."
        )


def _best(usable: Sequence[Candidate], modality: Modality, candidates: Sequence[Candidate]) -> Candidate:
    """The best of the usable candidates; `candidates` are all, for the message of a ModalityError."""
    best, *others = sorted(usable, key=lambda candidate: candidate.rank)
    equal = [best, *(other for other in others if other.rank == best.rank)]
    first, *more = dict.fromkeys(candidate.stack.number for candidate in equal)
    if more:
        raise ModalityError(
            f"{modality}: expected one best series, found several that are equally good: "
            f"{', '.join(map(str, [first, *more]))}. Choose one, as in ?series={modality.lower()}:{first}. "
            f"{describe(candidates)}"
        )
    if len(equal) > 1:
        raise ModalityError(
            f"{modality}: expected one image in series {first}, found {len(equal)} that are equally good. "
            "Send only one of them."
        )
    return best


def _wanted(candidates: Sequence[Candidate], modality: Modality, number: int) -> Candidate:
    """The stack of a series that the caller decided on: a series may have several, of which one has to fit."""
    of_series = [candidate for candidate in candidates if candidate.stack.number == number]
    usable = [candidate for candidate in of_series if not candidate.stack.fault]
    fitting = [candidate for candidate in usable if candidate.role == modality] or usable
    if not fitting:
        raise ModalityError(
            f"{modality}: expected series {number} to be a usable MR image. {describe(of_series or candidates)}"
        )
    return _best(fitting, modality, candidates)

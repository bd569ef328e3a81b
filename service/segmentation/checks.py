"""Checks of a case before it is segmented, and what they give as reasons for a review."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.imaging.case import BRAIN_MASK, GROUND_TRUTH, Case, Modality, Series, check_distinct, check_grid
from service.imaging.errors import ModalityError
from service.imaging.geometry import working_grid
from service.imaging.names import check_complete
from service.imaging.normalise import BrainBox, NormalisedCase
from service.imaging.volume import Grid
from service.networks.modality_network import recognise
from service.networks.model import Model
from service.preparation.preparation import Preparation
from service.preparation.raw import MAX_BRAIN_ML
from service.segmentation.modalities import Contradiction, find_contradiction
from service.segmentation.options import LabelGrid, Options, Output

NOT_SKULL_STRIPPED = "The scan is probably not skull-stripped, which the networks require; do not trust the masks."


@dataclass(frozen=True)
class Findings:
    """What is unusual about a case, but no reason to reject it."""

    missing: tuple[Modality, ...]
    contradiction: Contradiction | None  # between the images and their names
    has_skull: bool
    series: Mapping[Modality, Series]  # of a DICOM study
    preparation: Preparation | None = None  # of a raw case

    def reasons_for_review(self) -> Iterator[str]:
        """Yield the findings in words."""
        if self.missing:
            yield f"{', '.join(self.missing)}: missing; the networks did without."
        if self.contradiction:
            yield self.contradiction.text
        if self.has_skull:
            yield NOT_SKULL_STRIPPED
        if self.preparation:
            yield from self.preparation.reasons_for_review()


def check_case(case: Case, model: Model, options: Options) -> None:
    """Raise ModalityError or GeometryError if a case does not meet the options.

    Modalities are missing and may not be, a mask is on the wrong grid, or there is no DICOM series to refer to.
    """
    if not options.allow_missing or len(case.missing) > model.max_missing:
        hint = f" With ?allow_missing=true, up to {model.max_missing} may be missing." if model.max_missing else ""
        check_complete(case, hint)
    role, grid = label_grid(case, options.grid)
    if options.output == Output.DICOM and role not in case.series:
        raise ModalityError(
            "?output=dicom: expected a label map on the grid of a DICOM series. Send a DICOM study, not ?grid=working."
        )
    if case.ground_truth:
        check_grid(GROUND_TRUTH, case.ground_truth, role, grid)
    if case.brain_mask:
        check_grid(BRAIN_MASK, case.brain_mask, case.reference, case.grid)


def label_grid(case: Case, choice: LabelGrid | None) -> tuple[str, Grid]:
    """The grid of the label map, and what it is called. Raises ModalityError if that modality is missing."""
    if choice == LabelGrid.WORKING:
        return "the working grid", working_grid(case.grid)
    modality = Modality[choice.name] if choice else case.reference
    if modality not in case.images:
        raise ModalityError(f"{modality}: expected the image whose grid the label map should have, found none.")
    return modality, case.images[modality].grid


def check_appearance(case: Case, normalised: NormalisedCase, model: Model, options: Options) -> Findings:
    """Look at the images themselves. Raises ModalityError if two are the same or if their names are certainly wrong."""
    check_distinct(case.images)
    has_skull = _has_skull(normalised.brain)
    contradiction = None
    if model.modality_network and not has_skull:  # it only knows brains without skull
        contradiction = find_contradiction(recognise(model.modality_network, normalised.intensities), case.missing)
    if contradiction and contradiction.is_certain and not options.trust_names:
        raise ModalityError(f"{contradiction.text} Correct the names; if they are right, send ?trust_names=true.")
    return Findings(case.missing, contradiction, has_skull, case.series)


def _has_skull(brain: BrainBox) -> bool:
    """Whether the scan is probably not skull-stripped."""
    return brain.brain_ml > MAX_BRAIN_ML

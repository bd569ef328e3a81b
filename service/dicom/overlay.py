"""Slices with coloured outlines as DICOM secondary captures, for viewers that show no segmentations."""

from collections.abc import Iterator
from math import ceil

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DS
from scipy import ndimage

from service.dicom.findings import NAME, RESEARCH_USE, SERIES_NUMBER, Findings
from service.dicom.segmentation_object import SEGMENTS

WINDOW = (1, 99.5)  # percentiles of the intensities: black and white
MAX_IMAGES = 40  # of thin slices, not all are shown
TEXT_PIXELS = 12  # height of the legend's letters
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
MIN_EDGE_PIXELS = 512  # smaller images are magnified, so that an outline covers little of them


def make_overlays(findings: Findings, intensities: NDArray[np.generic]) -> Iterator[SCImage]:
    """One image for each slice with tumour, or the middle one if there is none, given the series (X, Y, Z).

    Of more than MAX_IMAGES slices, every second, third and so on.
    """
    grey = _grey(intensities.transpose(2, 1, 0))
    labels = findings.labels.transpose(2, 1, 0)
    with_tumour = np.flatnonzero(labels.any(axis=(1, 2)))
    shown = with_tumour[:: ceil(with_tumour.size / MAX_IMAGES)] if with_tumour.size else [len(labels) // 2]
    factor = max(1, MIN_EDGE_PIXELS // max(labels.shape[1:]))
    between_rows, between_columns = findings.stack.frames[0].spacing_mm / factor
    for number, index in enumerate(shown, start=1):
        overlay = SCImage.from_ref_dataset(
            findings.sources[0],
            _draw(_magnified(grey[index], factor), _magnified(labels[index], factor), findings),
            "RGB",
            8,
            "PATIENT",
            series_instance_uid=findings.uid("overlay series"),
            series_number=SERIES_NUMBER + 2,
            sop_instance_uid=findings.uid(f"overlay {index}"),
            instance_number=number,
            manufacturer=NAME,
            patient_orientation=_patient_orientation(findings),
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description=f"{NAME}: outlines. {RESEARCH_USE}",
        )
        overlay.PixelSpacing = [DS(between_rows, auto_format=True), DS(between_columns, auto_format=True)]
        overlay.BodyPartExamined = "BRAIN"
        findings.make_reproducible(overlay)
        yield overlay


def _grey(frames: NDArray[np.generic]) -> NDArray[np.uint8]:
    low, high = np.percentile(frames.astype(np.float32), WINDOW)
    scaled: NDArray[np.uint8] = (255 * np.clip((frames - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
    return scaled


def _magnified(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _draw(grey: NDArray[np.uint8], labels: NDArray[np.uint8], findings: Findings) -> NDArray[np.uint8]:
    """An RGB image (Y, X, 3) with the inner border of every segment in its colour."""
    image = np.stack([grey] * 3, axis=-1)
    for name, (_, _, colour) in SEGMENTS.items():
        mask = labels == findings.label_numbers[name]
        image[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    return _with_legend(image)


def _with_legend(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with the names of the segments in their colours, and its permitted use, in the lower left corner."""
    lines = [(label, colour) for label, _, colour in SEGMENTS.values()] + [(f"{NAME}: {RESEARCH_USE}", WHITE)]
    picture = Image.fromarray(image)
    for number, (line, colour) in enumerate(lines):
        place = TEXT_PIXELS // 2, picture.height - (len(lines) - number) * 1.5 * TEXT_PIXELS
        font = ImageFont.load_default(TEXT_PIXELS)
        ImageDraw.Draw(picture).text(place, line, colour, font, stroke_width=1, stroke_fill=BLACK)
    return np.asarray(picture)


def _patient_orientation(findings: Findings) -> tuple[str, str]:
    """The anatomical directions of rows and columns: the largest component of each (DICOM PS3.3, C.7.6.1.1.1)."""
    along_row, along_column = findings.stack.frames[0].directions.reshape(2, 3)
    return _direction(along_row), _direction(along_column)


def _direction(vector: NDArray[np.float64]) -> str:
    axis = int(np.abs(vector).argmax())
    return ("LR", "PA", "HF")[axis][int(vector[axis] < 0)]

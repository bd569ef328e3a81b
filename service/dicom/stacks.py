"""Stacks of frames: a series is parted until every stack is one image of the head, and its grid is worked out.

Nothing is guessed: a stack whose frames do not lie on one regular grid has a fault, and is not used.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.frames import Frame
from service.imaging.geometry import RAS_TO_LPS
from service.imaging.volume import Grid

DIRECTION_TOLERANCE = 1e-3  # of unit vectors
SPACING_TOLERANCE = 0.02  # of the distance between slices
POSITION_TOLERANCE_MM = 0.1  # of a frame from the line on which all frames lie
TILT_TOLERANCE = 0.005  # sine of the angle between the slices' normal and the direction of the stack
MIN_SLICES = 2

# Attributes that part a series always, and those that part it where frames lie on each other, first things first.
ALWAYS = ("ImageType", "EchoTime", "DiffusionBValue")
WHERE_REPEATED = ("TemporalPositionIdentifier", "AcquisitionNumber", "InversionTime", "TriggerTime", "RepetitionTime")


@dataclass(frozen=True)
class Stack:
    """Frames that are one image, in the order of their positions, or have a fault that prevents it."""

    frames: Sequence[Frame]
    fault: str = ""  # why it is not a usable image, in words; empty if it is

    @property
    def number(self) -> int:
        """The SeriesNumber; 0 if there is none."""
        return int(self.frames[0].number("SeriesNumber") or 0)

    @property
    def study(self) -> tuple[str, str]:
        """What tells studies and patients apart."""
        return self.frames[0].text("StudyInstanceUID"), self.frames[0].text("PatientID")

    @cached_property
    def grid(self) -> Grid:
        """The grid of a stack without fault: axes along a row, along a column, and from slice to slice."""
        first, last = self.frames[0], self.frames[-1]
        along_row, along_column = first.directions.reshape(2, 3)
        between_rows, between_columns = first.spacing_mm
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = along_row * between_columns, along_column * between_rows
        affine[:3, 2] = (last.position - first.position) / (len(self.frames) - 1)
        affine[:3, 3] = first.position
        rows, columns = first.shape
        return Grid((columns, rows, len(self.frames)), RAS_TO_LPS @ affine)


def make_stacks(frames: Iterable[Frame]) -> list[Stack]:
    """Part frames into stacks: by series, matrix, orientation and kind, and where frames repeat a position."""
    parted: defaultdict[Any, list[Frame]] = defaultdict(list)
    orientations: list[NDArray[np.float64]] = []
    seen: set[tuple[str, int]] = set()  # exports may contain a file twice
    for frame in frames:
        identity = frame.text("SOPInstanceUID") or frame.file, frame.index
        if frame.is_complete and identity not in seen:
            seen.add(identity)
            series = frame.text("SeriesInstanceUID"), frame.shape, tuple(frame.spacing_mm.round(4))
            kind = tuple(map(frame.text, ALWAYS))
            parted[series, kind, _orientation(frame, orientations)].append(frame)
    return [stack for group in parted.values() for stack in _part_repeated(group)]


def _orientation(frame: Frame, known: list[NDArray[np.float64]]) -> int:
    """The number of a frame's orientation among the known ones, which it joins if it is new."""
    for number, directions in enumerate(known):
        if np.abs(directions - frame.directions).max() < DIRECTION_TOLERANCE:
            return number
    known.append(frame.directions)
    return len(known) - 1


def _part_repeated(frames: list[Frame]) -> Iterator[Stack]:
    """Part frames by the first attribute that leaves no position twice."""
    if _repeats(frames):
        for keyword in WHERE_REPEATED:
            parts: defaultdict[str, list[Frame]] = defaultdict(list)
            for frame in frames:
                parts[frame.text(keyword)].append(frame)
            if not any(map(_repeats, parts.values())):
                yield from map(_stack, parts.values())
                return
    yield _stack(frames)


def _repeats(frames: list[Frame]) -> bool:
    """Whether two frames lie at the same place."""
    distances = np.sort([frame.position @ _normal(frame) for frame in frames])
    return bool((np.diff(distances) < POSITION_TOLERANCE_MM).any())


def _stack(frames: list[Frame]) -> Stack:
    normal = _normal(frames[0])
    ordered = sorted(frames, key=lambda frame: float(frame.position @ normal))
    return Stack(ordered, _fault(ordered))


def _normal(frame: Frame) -> NDArray[np.float64]:
    along_row, along_column = frame.directions.reshape(2, 3)
    return np.cross(along_row, along_column)


def _fault(frames: Sequence[Frame]) -> str:
    """Why frames in the order of their positions are not an image on a regular grid; empty if they are."""
    if "MOSAIC" in frames[0].text("ImageType"):
        return "mosaic images"
    if len(frames) < MIN_SLICES:
        return "a single slice"
    along_row, along_column = frames[0].directions.reshape(2, 3)
    lengths = np.linalg.norm([along_row, along_column], axis=1)
    if np.abs([*(lengths - 1), along_row @ along_column]).max() > DIRECTION_TOLERANCE:
        return "directions that are not perpendicular unit vectors"
    return _position_fault(frames)


def _position_fault(frames: Sequence[Frame]) -> str:
    positions = np.array([frame.position for frame in frames])
    steps = np.diff(positions @ _normal(frames[0]))
    if steps.min() < POSITION_TOLERANCE_MM:
        return "several frames at one position"
    if (gaps := np.round(steps / np.median(steps))).max() > 1 and np.allclose(
        steps, gaps * np.median(steps), rtol=SPACING_TOLERANCE
    ):
        return f"missing slices: {int((gaps - 1).sum())}"
    if np.ptp(steps) > SPACING_TOLERANCE * np.median(steps) + 0.01:
        return f"irregular distances between slices, {steps.min():.2f} to {steps.max():.2f} mm"
    line = positions[0] + np.linspace(0, 1, len(frames))[:, None] * (positions[-1] - positions[0])
    if np.linalg.norm(positions - line, axis=1).max() > POSITION_TOLERANCE_MM:
        return "slices that are displaced against each other"
    depth = positions[-1] - positions[0]
    tilt = np.linalg.norm(np.cross(depth, _normal(frames[0]))) / np.linalg.norm(depth)
    return "slices that are not perpendicular to their stack (gantry tilt)" if tilt > TILT_TOLERANCE else ""

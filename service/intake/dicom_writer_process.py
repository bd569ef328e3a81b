"""Writes the DICOM objects about one case: `python -m service.intake.dicom_writer_process`.

It reads a line of JSON and the label map from standard input, and writes a zip of the objects to standard output. It is
a process of its own because it reads an upload again, like the decoder process, and because its libraries are large.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from mmap import mmap
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from pydicom import Dataset

from service.dicom.findings import Findings, RegionFinding
from service.dicom.overlay import make_overlays
from service.dicom.segmentation_object import make_segmentation
from service.dicom.structured_report import make_report
from service.dicom.study import choose_stacks, read_headers, read_stack
from service.imaging.volume import Volume
from service.intake.archive import open_upload
from service.intake.decoder_process import confine, where
from service.machine.process import disable_core_dumps


def main() -> None:
    """Write the objects of one case."""
    confine()
    disable_core_dumps()
    try:
        request = json.loads(sys.stdin.buffer.readline())
        sys.stdout.buffer.write(_encode(make_objects(*_read(request, sys.stdin.buffer.read()))))
    except Exception as error:  # the outermost handler of this process; a message could quote the headers
        sys.exit(where(error))


def make_objects(findings: Findings, image: Volume) -> Iterator[tuple[str, Dataset]]:
    """The segmentation, the structured report and the overlays on the image, by file name."""
    segmentation = make_segmentation(findings)
    yield "segmentation.dcm", segmentation
    yield "report.dcm", make_report(findings, segmentation)
    for number, overlay in enumerate(make_overlays(findings, image.voxels), start=1):
        yield f"overlay_{number:02}.dcm", overlay


def _read(request: Mapping[str, Any], labels: bytes) -> tuple[Findings, Volume]:
    with open_upload(Path(request["folder"]), request["max_unpacked_mib"]) as files:
        stack = choose_stacks(files, request["series"], request["allow_missing"])[request["modality"]].stack
        headers = read_headers(files, stack)
        image = read_stack(stack, request["modality"], files, lambda _, size_bytes: mmap(-1, size_bytes))
    findings = Findings(
        stack,
        headers,
        np.frombuffer(labels, np.uint8).reshape(stack.grid.shape, order="F"),
        request["label_numbers"],
        {region: RegionFinding(**found) for region, found in request["regions"].items()},
        request["review_reasons"],
        request["weights"],
    )
    return findings, image


def _encode(objects: Iterator[tuple[str, Dataset]]) -> bytes:
    body = BytesIO()
    with ZipFile(body, "w") as archive:
        for name, dataset in objects:
            encoded = BytesIO()
            dataset.save_as(encoded)
            archive.writestr(name, encoded.getvalue())
    return body.getvalue()


if __name__ == "__main__":
    main()

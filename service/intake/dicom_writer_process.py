"""Writes one DICOM segmentation: `python -m service.intake.dicom_writer_process`.

It reads a line of JSON and the label map from standard input, and writes the object to standard output. It is a process
of its own because it reads the headers of an upload, like the decoder process, and because its libraries are large.
"""

import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np

from service.dicom.segmentation_object import make_segmentation
from service.dicom.study import choose_stacks, read_headers
from service.intake.archive import open_upload
from service.intake.decoder_process import confine, where
from service.machine.process import disable_core_dumps


def main() -> None:
    """Write the object of one case."""
    confine()
    disable_core_dumps()
    try:
        _write()
    except Exception as error:  # the outermost handler of this process; a message could quote the headers
        sys.exit(where(error))


def _write() -> None:
    request = json.loads(sys.stdin.buffer.readline())
    labels = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(request["shape"], order="F")
    with open_upload(Path(request["folder"]), request["max_unpacked_mib"]) as files:
        stack = choose_stacks(files, request["series"], request["allow_missing"])[request["modality"]].stack
        headers = read_headers(files, stack)
    segmentation = make_segmentation(stack, headers, labels, request["label_numbers"], request["weights"])
    body = BytesIO()
    segmentation.save_as(body)
    sys.stdout.buffer.write(body.getvalue())


if __name__ == "__main__":
    main()

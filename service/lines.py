"""Adding lines to a file whose earlier lines stay as they are."""

import os
from errno import ENOSPC


def append_line(descriptor: int, line: bytes) -> None:
    """Add a line to a file that is open for reading and appending, or nothing of it. Raises OSError.

    A last line that was left open, by a power cut or an editor, is ended first.
    """
    size = os.fstat(descriptor).st_size
    is_open = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    data = (b"\n" if is_open else b"") + line + b"\n"
    if os.write(descriptor, data) < len(data):
        os.ftruncate(descriptor, size)
        raise OSError(ENOSPC, os.strerror(ENOSPC))

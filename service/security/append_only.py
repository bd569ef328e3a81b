"""Appending lines to a file whose earlier lines never change."""

import os
from errno import ENOSPC


def append_line(descriptor: int, line: bytes) -> None:
    """Append a whole line, or nothing, to a file opened for reading and appending. Raises OSError.

    If a power cut or an editor left the last line without a newline, it is terminated first.
    """
    size = os.fstat(descriptor).st_size
    is_unterminated = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    data = (b"\n" if is_unterminated else b"") + line + b"\n"
    if os.write(descriptor, data) < len(data):
        os.ftruncate(descriptor, size)
        raise OSError(ENOSPC, os.strerror(ENOSPC))

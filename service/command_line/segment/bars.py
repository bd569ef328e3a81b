"""Progress bars of the cases in work, on standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from glioserve_client import Progress, State
from glioserve_client.progress import ProgressCallback

WITH_BAR, TEXT_ONLY = "{desc} {percentage:3.0f}%|{bar:30}|", "{desc}"


class Bars:
    """A bar for all cases, and one for each case in work; none unless enabled."""

    def __init__(self, cases: int, *, is_enabled: bool) -> None:
        self._is_enabled = is_enabled
        self._taken: set[int] = set()  # lines of the terminal below the first
        self._all = tqdm(total=cases, desc="cases", unit="case", file=sys.stderr, disable=not is_enabled)

    @contextmanager
    def case(self, name: str) -> Iterator[ProgressCallback]:
        """A bar for a case, and what to report its progress to."""
        line = min(set(range(1, len(self._taken) + 2)) - self._taken)
        self._taken.add(line)
        bar: tqdm[Any] = tqdm(total=1, position=line, leave=False, file=sys.stderr, disable=not self._is_enabled)

        def show(progress: Progress) -> None:
            if progress.state == State.RETRYING:
                self.print(f"{name}: trying again: {progress.reason}", sys.stderr)
            elif self._is_enabled:
                _draw(bar, name, progress)

        try:
            yield show
        finally:
            bar.close()
            self._taken.remove(line)
            self._all.update()

    def print(self, line: str, file: TextIO) -> None:
        """Print a line without damaging the bars. If nobody reads the lines any more, the work still goes on."""
        try:
            tqdm.write(line, file)
            file.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())

    def close(self) -> None:
        """Remove the bar of all cases."""
        self._all.close()


def _draw(bar: "tqdm[Any]", name: str, progress: Progress) -> None:
    slices = progress.slices.values()
    if progress.state == State.UPLOADING:
        bar.n, bar.total = progress.sent_bytes, progress.total_bytes
        description = f"{name}: uploading"
    elif progress.state == State.WAITING:
        bar.n, bar.total = 0, 0
        description = f"{name}: position {progress.queue_position} in the queue"
    else:
        bar.n, bar.total = sum(network.done for network in slices), sum(network.total for network in slices)
        description = f"{name}: {progress.stage or progress.state}"
    bar.bar_format = WITH_BAR if bar.total else TEXT_ONLY
    bar.set_description_str(description)

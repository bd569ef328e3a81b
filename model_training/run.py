"""The folder of a run: what it is made of, and each network's log, scalars and state to go on from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from torch.utils.tensorboard import SummaryWriter

SECONDS_BETWEEN_STATES = 300.0


class Stateful(Protocol):
    """What has a state to keep: a network, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...  # noqa: D102


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the epoch that is going on
    losses: list[float] = field(default_factory=list)  # of those steps
    seconds: float = 0.0  # that those steps took
    best_dice: float = -1.0  # mean over the validation cases
    log: list[dict[str, float]] = field(default_factory=list)  # an entry an epoch

    def close_epoch(self) -> None:
        """Count an epoch whose steps are all done."""
        self.epoch, self.step, self.losses, self.seconds = self.epoch + 1, 0, [], 0.0


def claim_folder(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Write what a run is made of, as JSON by file name. Raises ValueError where the folder is that of another run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in inputs.items():
        path, text = folder / name, json.dumps(value, indent=2) + "\n"
        if path.exists() and path.read_text() != text:
            raise ValueError(f"{folder}: expected the run of this {path.stem}, found another; choose a new folder")
        path.write_text(text)


class RunFolder:
    """Keeps one network's run on disk."""

    def __init__(self, run: Path, network: str, parts: Mapping[str, Stateful]) -> None:
        self.weights = run / "weights"  # of all networks of the run
        self._folder = run / network
        self._parts = parts
        self._saved = monotonic()

    def restore(self) -> Progress:
        """The parts brought to where an interrupted run left them, and its progress; that of a new run otherwise."""
        path = self._folder / "state.pt"
        if not path.exists():
            return Progress()
        state = torch.load(path, weights_only=True, map_location="cpu")
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        return Progress(**state["progress"])

    def is_due(self) -> bool:
        """Whether so much time has passed that the state should be saved."""
        return monotonic() - self._saved > SECONDS_BETWEEN_STATES

    def save(self, progress: Progress) -> None:
        """Keep parts and progress, all or nothing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self._parts.items()}
        torch.save(state | {"progress": asdict(progress)}, self._folder / "state.partial")
        (self._folder / "state.partial").replace(self._folder / "state.pt")
        self._saved = monotonic()

    def write_log(self, progress: Progress) -> None:
        """The log as log.jsonl, a line an epoch, and its last entry as scalars for TensorBoard."""
        lines = [json.dumps(entry) + "\n" for entry in progress.log]
        (self._folder / "log.jsonl").write_text("".join(lines))
        entry = progress.log[-1]
        with SummaryWriter(str(self._folder), purge_step=progress.epoch) as writer:
            for name, value in entry.items():
                writer.add_scalar(name, value, progress.epoch)

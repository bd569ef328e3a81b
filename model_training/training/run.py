"""Folder of a run: its inputs, and for each network the log, the TensorBoard scalars and the state for resuming."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from torch.utils.tensorboard import SummaryWriter

SECONDS_BETWEEN_SAVES = 300.0


class Stateful(Protocol):
    """An object with a state to save and restore: a network, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state: dict[str, Any], /) -> object: ...  # noqa: D102


@dataclass
class Progress:
    """Progress of a network's training."""

    epoch: int = 0  # completed epochs
    step: int = 0  # completed steps of the current epoch
    losses: list[float] = field(default_factory=list)  # of those steps
    seconds: float = 0.0  # duration of those steps
    best_dice: float = -1.0  # mean over the validation cases
    log: list[dict[str, float]] = field(default_factory=list)  # one entry for each epoch

    def finish_epoch(self) -> None:
        """Count the current epoch as completed."""
        self.epoch, self.step, self.losses, self.seconds = self.epoch + 1, 0, [], 0.0


def write_inputs(folder: Path, inputs: Mapping[str, Any]) -> None:
    """Write the inputs of a run as JSON, by file name. Raises ValueError if the folder has a run with other inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in inputs.items():
        path, text = folder / name, json.dumps(value, indent=2) + "\n"
        if path.exists() and path.read_text() != text:
            raise ValueError(f"{folder}: expected a run with the same {name}, found another; choose a new folder")
        path.write_text(text)


class RunFolder:
    """Saves and restores the training of one network."""

    def __init__(self, run: Path, network: str, components: Mapping[str, Stateful]) -> None:
        self.weights = run / "weights"  # of all networks of the run
        self._folder = run / network
        self._components = components
        self._last_save = monotonic()

    def restore(self) -> Progress:
        """Load the saved state into the components and return the progress; without a saved state, start at zero."""
        path = self._folder / "state.pt"
        if not path.exists():
            return Progress()
        state = torch.load(path, weights_only=True, map_location="cpu")
        for name, component in self._components.items():
            component.load_state_dict(state[name])
        return Progress(**state["progress"])

    def is_save_due(self) -> bool:
        """Whether the last save was more than SECONDS_BETWEEN_SAVES ago."""
        return monotonic() - self._last_save > SECONDS_BETWEEN_SAVES

    def save(self, progress: Progress) -> None:
        """Save the state of the components and the progress atomically."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {name: component.state_dict() for name, component in self._components.items()}
        torch.save(state | {"progress": asdict(progress)}, self._folder / "state.partial")
        (self._folder / "state.partial").replace(self._folder / "state.pt")
        self._last_save = monotonic()

    def write_log(self, progress: Progress) -> None:
        """Write the log as log.jsonl, one line for each epoch, and its last entry as TensorBoard scalars."""
        lines = [json.dumps(entry) + "\n" for entry in progress.log]
        (self._folder / "log.jsonl").write_text("".join(lines))
        entry = progress.log[-1]
        with SummaryWriter(str(self._folder), purge_step=progress.epoch) as writer:
            for name, value in entry.items():
                writer.add_scalar(name, value, progress.epoch)

"""Training of the networks of a recipe; the functions are in the order of execution."""

import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch.nn.functional import avg_pool2d
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from model_training import processes
from model_training.augmentation import augment
from model_training.augmentation.random_streams import RandomStreams
from model_training.data.prepare import Cases
from model_training.data.slices import Sample, SliceDataset, truth_channels
from model_training.recipe import Recipe
from model_training.training.ema import ema_update
from model_training.training.initial_weights import initial_state
from model_training.training.loss import compute_loss
from model_training.training.provenance import Provenance
from model_training.training.run import Progress, RunFolder, Stateful, write_inputs
from model_training.training.validation import save_if_best
from service.imaging.labels import Region
from service.networks.model import Checkpoint, Model
from service.networks.precision import place
from service.networks.unet import UNet

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def train(recipe: Recipe, cases: Cases, run: Path, device: torch.device, initial_weights: Model | None = None) -> None:
    """Train every network of a recipe on the training cases, from random or from initial weights.

    For each network the weights of the epoch with the best mean Dice on the validation cases are saved; without
    validation cases, those of the last epoch. The folder `run` receives the recipe, the split, the weights with their
    model cards, and for each network a folder with log, scalars and state. Call it again to resume an interrupted run.
    Raises ValueError if the folder contains another run, or if the recipe does not fit the data or the initial weights.
    """
    if recipe.training.warm_start and not initial_weights:
        raise ValueError(f"{recipe.name}: expected initial weights (--initial-weights WEIGHTS), found none")
    provenance = Provenance(recipe, cases, initial_weights)
    if processes.rank() == 0:
        write_inputs(run, provenance.run_inputs())
    for regions in recipe.network.regions:
        NetworkTrainer(provenance, regions, device).train(run)


class NetworkTrainer:
    """Training of one network."""

    def __init__(self, provenance: Provenance, regions: tuple[Region, ...], device: torch.device) -> None:
        self.provenance, self.regions, self.device = provenance, regions, device
        self.settings = provenance.recipe.training
        self.slices = SliceDataset(provenance.cases["train"], provenance.recipe)
        self.steps = self.slices.steps_per_epoch()

        torch.manual_seed(self.settings.seed)
        card = provenance.card(regions, epochs=0, steps=0)
        network = UNet(card.out_channels, card.width, card.depth, card.in_channels)
        if provenance.initial_weights:
            network.load_state_dict(initial_state(provenance.initial_weights, card))
        self.network = place(network, device)
        self.ema = AveragedModel(self.network, multi_avg_fn=ema_update(self.settings.ema_decay), use_buffers=True)
        self.distributed = processes.distribute(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)
        self.schedule = self._schedule()
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.settings.precision == "float16")

    def train(self, run: Path) -> None:
        """Train all epochs, or the remaining ones of an interrupted run."""
        name, epochs = "-".join(self.regions), self.settings.epochs
        folder = RunFolder(run, name.lower(), self._components())
        progress = folder.restore()
        with tqdm(
            desc=name,
            total=epochs * self.steps,
            initial=progress.epoch * self.steps + progress.step,
            unit="step",
            mininterval=0.5 if sys.stderr.isatty() else 60,  # few lines in a log file
            maxinterval=60,
            disable=processes.rank() > 0,
        ) as bar:
            while progress.epoch < epochs:
                for loss in self._remaining_steps(progress):
                    bar.update()
                    bar.set_postfix(epoch=progress.epoch + 1, loss=f"{loss:.3f}", refresh=False)
                    if processes.rank() == 0 and folder.is_save_due():
                        folder.save(progress)
                self._finish_epoch(progress, folder)

    def _remaining_steps(self, progress: Progress) -> Iterator[float]:
        """Do the remaining steps of the current epoch and yield the loss of each."""
        batches = self.slices.batches(progress.epoch)[progress.step :]
        workers = 2 if self.device.type == "cuda" else 0  # keep a GPU busy; on a CPU they would compete for the cores
        started = monotonic() - progress.seconds
        self.network.train()
        for sample in DataLoader(self.slices, batch_sampler=batches, num_workers=workers):
            loss = self.step(sample, half_resolution=progress.epoch < self.settings.half_resolution_epochs)
            progress.losses.append(loss)
            progress.step += 1
            progress.seconds = monotonic() - started
            yield loss

    def step(self, sample: Sample, half_resolution: bool = False) -> float:
        """Do one optimiser step and return the loss."""
        streams = RandomStreams(sample.seed.tolist(), self.device)
        full_slices, full_labels = sample.slices.to(self.device), sample.labels.to(self.device)
        augmentation = self.provenance.recipe.augmentation
        slices, labels = augment(full_slices, full_labels, self.slices.patch_size, augmentation, streams)
        truth = truth_channels(labels, self.regions)
        if half_resolution:
            slices, truth = avg_pool2d(slices, 2), avg_pool2d(truth, 2)
        with self._autocast():
            logits = self.distributed(slices.contiguous(memory_format=torch.channels_last))
        loss = compute_loss(self.settings.loss, logits.float(), truth)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        self.ema.update_parameters(self.network)
        return processes.mean_over_processes(loss)

    def _finish_epoch(self, progress: Progress, folder: RunFolder) -> None:
        """Validate the EMA weights, save them if they are the best so far, and write state and log."""
        entry = {
            "epoch": progress.epoch + 1,
            "loss": float(np.mean(progress.losses)),
            "learning_rate": float(self.schedule.get_last_lr()[0]),
            "seconds": progress.seconds,
        }
        progress.finish_epoch()
        if processes.rank() == 0:
            model, cases = self._ema_model(progress.epoch), self.provenance.cases["validation"]
            with self._autocast():
                scores = save_if_best(model, cases, self.settings, progress, folder.weights)
            progress.log.append(entry | scores)
            folder.save(progress)
            folder.write_log(progress)
        processes.wait_for_all()

    def _ema_model(self, epochs: int) -> Model:
        """The EMA weights with their model card after this many epochs."""
        card = self.provenance.card(self.regions, epochs, epochs * self.steps)
        return Model((Checkpoint(self.ema.module.eval(), card),), self.device)

    def _components(self) -> dict[str, Stateful]:
        """Everything that has a state, so that a resumed run gives the same result as an uninterrupted one."""
        return {
            "network": self.network,
            "ema": self.ema,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }

    def _schedule(self) -> LRScheduler:
        if self.settings.schedule == "constant":
            return ConstantLR(self.optimiser, factor=1.0)
        return OneCycleLR(self.optimiser, self.settings.learning_rate, total_steps=self.settings.epochs * self.steps)

    def _autocast(self) -> torch.autocast:
        """Mixed precision if the recipe asks for it."""
        dtype = PRECISIONS[self.settings.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

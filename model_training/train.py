"""Training the networks of a recipe: one run, read from top to bottom."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from model_training import processes
from model_training.augmentation import augment
from model_training.augmentation.draws import Draws
from model_training.average import growing_average
from model_training.loss import loss_of
from model_training.prepare import CachedCase, Cases
from model_training.recipe import Recipe
from model_training.run import Progress, RunFolder, Stateful, claim_folder
from model_training.slices import Sample, SliceSet, truth_channels
from model_training.start import starting_weights
from service.segmentation.card import Card
from service.segmentation.labels import Region, region_masks
from service.segmentation.measure import dice
from service.segmentation.model import Checkpoint, Model
from service.segmentation.network import UNet, place
from service.segmentation.predict import predict_masks
from service.segmentation.weights import save_checkpoint

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def train(recipe: Recipe, cases: Cases, run: Path, device: torch.device, start: Model | None = None) -> None:
    """Train every network of a recipe on the training cases, from random weights or from those of `start`.

    Of each the epoch with the best mean Dice over the validation cases is kept, the last one where there are none. The
    folder `run` gets the recipe, the split, the weights with their cards, and a folder for each network with log,
    scalars and state. The same call goes on with a run that was interrupted.
    Raises ValueError where the folder holds another run, and where recipe and data or start do not fit.
    """
    if recipe.training.goes_on and not start:
        raise ValueError(f"{recipe.name}: expected weights to go on from (--from FOLDER), found none")
    if processes.rank() == 0:
        claim_folder(
            run,
            {
                "recipe.json": recipe.model_dump(mode="json"),
                "split.json": _names(cases),
                "start.json": _origin(start) if start else None,
            },
        )
    for regions in recipe.network.regions:
        NetworkRun(recipe, regions, cases, device, start).train(run)


class NetworkRun:
    """The training of one network."""

    def __init__(
        self, recipe: Recipe, regions: tuple[Region, ...], cases: Cases, device: torch.device, start: Model | None
    ) -> None:
        self.recipe, self.regions, self.cases, self.device, self.start = recipe, regions, cases, device, start
        self.slices = SliceSet(cases["train"], recipe)
        self.steps = self._steps_of_an_epoch()

        torch.manual_seed(recipe.training.seed)
        card = self.card(epoch=0)
        network = UNet(card.out_channels, card.width, card.depth, card.in_channels)
        if start:
            network.load_state_dict(starting_weights(start, card))
        self.network = place(network, device)
        self.average = AveragedModel(
            self.network, multi_avg_fn=growing_average(recipe.training.averaging), use_buffers=True
        )
        self.shared = processes.share(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=recipe.training.learning_rate)
        self.schedule = self._schedule()
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.training.precision == "float16")

    def train(self, run: Path) -> None:
        """All epochs, from where an interrupted run left off."""
        folder = RunFolder(run, "-".join(self.regions).lower(), self._parts())
        epochs = self.recipe.training.epochs
        progress = folder.restore()
        with tqdm(
            desc="-".join(self.regions),
            total=epochs * self.steps,
            initial=progress.epoch * self.steps + progress.step,
            unit="step",
            mininterval=0.5 if sys.stderr.isatty() else 60,  # a log file wants few lines
            maxinterval=60,
            disable=processes.rank() > 0,
        ) as bar:
            while progress.epoch < epochs:
                for loss in self._rest_of_epoch(progress):
                    bar.update()
                    bar.set_postfix(epoch=progress.epoch + 1, loss=f"{loss:.3f}", refresh=False)
                    if processes.rank() == 0 and folder.is_due():
                        folder.save(progress)
                self._close_epoch(progress, folder)

    def _rest_of_epoch(self, progress: Progress) -> Iterator[float]:
        """The steps of an epoch that are still to be done; gives their losses."""
        size = self.recipe.training.batch
        order = self.slices.epoch(progress.epoch)[: self.steps * size]
        batches = [order[first : first + size] for first in range(progress.step * size, len(order), size)]
        mine = [batch[processes.rank() :: processes.count()] for batch in batches]
        workers = 2 if self.device.type == "cuda" else 0  # a GPU should not wait; a CPU has no core to spare
        started = monotonic() - progress.seconds
        self.network.train()
        for sample in DataLoader(self.slices, batch_sampler=mine, num_workers=workers):
            loss = self.step(sample)
            progress.losses.append(loss)
            progress.step += 1
            progress.seconds = monotonic() - started
            yield loss

    def step(self, sample: Sample) -> float:
        """One step of gradient descent; gives the loss."""
        draws = Draws(sample.seed.tolist(), self.device)
        whole = sample.slices.to(self.device), sample.labels.to(self.device)
        slices, labels = augment(*whole, self.slices.frame, self.recipe.augmentation, draws)
        with self._precision():
            logits = self.shared(slices.contiguous(memory_format=torch.channels_last))
        loss = loss_of(self.recipe.training.loss, logits.float(), truth_channels(labels, self.regions))
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        self.average.update_parameters(self.network)
        return processes.mean_over_processes(loss)

    def _close_epoch(self, progress: Progress, folder: RunFolder) -> None:
        """Score the averaged weights, keep them if they are the best, and write state and log."""
        entry = {
            "epoch": progress.epoch + 1,
            "loss": float(np.mean(progress.losses)),
            "learning_rate": float(self.schedule.get_last_lr()[0]),
            "seconds": progress.seconds,
        }
        progress.close_epoch()
        if processes.rank() == 0:
            progress.log.append(entry | self._keep_if_best(progress, folder.weights))
            folder.save(progress)
            folder.write_log(progress)
        processes.wait_for_all()

    def _keep_if_best(self, progress: Progress, weights: Path) -> dict[str, float]:
        """Save the averaged weights if they are the best so far; gives the Dice of every validation case."""
        candidate = Checkpoint(self.average.module.eval(), self.card(progress.epoch))
        is_last = progress.epoch == self.recipe.training.epochs
        if not self.cases["validation"]:
            if is_last:
                save_checkpoint(weights, candidate)
            return {}
        if not is_last and progress.epoch % self.recipe.training.validate_every:
            return {}
        scores = {
            f"dice/{region}/{case.name}": score
            for case in self.cases["validation"]
            for region, score in self._dice(candidate, case).items()
        }
        mean = float(np.mean(list(scores.values())))
        if mean > progress.best_dice:
            progress.best_dice = mean
            save_checkpoint(weights, candidate)
        return {"dice": mean} | scores

    def _dice(self, checkpoint: Checkpoint, case: CachedCase) -> dict[Region, float]:
        """Dice of one subject in the precision of training: it ranks epochs and is not the figure to report."""
        with self._precision():
            masks = predict_masks(Model((checkpoint,), self.device), case.volumes).masks
        truth = region_masks(case.labels.T)
        return {region: dice(mask, truth[region]) for region, mask in masks.items()}

    def card(self, epoch: int) -> Card:
        """The card of the network after so many epochs."""
        names = _names(self.cases)
        return Card(
            name=self.recipe.name,
            version=self.recipe.version,
            regions=self.regions,
            width=self.recipe.network.width,
            depth=self.recipe.network.depth,
            slice_offsets=self.recipe.network.slice_offsets,
            licence=self.recipe.about.licence,
            attribution=self.recipe.about.attribution,
            intended_use=self.recipe.about.intended_use,
            training={
                "recipe": self.recipe.model_dump(mode="json", exclude={"about"}),
                "seed": self.recipe.training.seed,
                "epochs": epoch,
                "steps": epoch * self.steps,
                "split_sha256": hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest(),
                "cases": names["train"],
                "chosen_on": names["validation"],
            }
            | ({"start": _origin(self.start)} if self.start else {}),
        )

    def _parts(self) -> dict[str, Stateful]:
        """All that a run must have back to go on as if nothing had happened."""
        return {
            "network": self.network,
            "average": self.average,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }

    def _steps_of_an_epoch(self) -> int:
        """Whole batches only. Raises ValueError where there is none, or processes cannot share one alike."""
        slices, batch = len(self.slices.epoch(0)), self.recipe.training.batch
        if batch > slices or batch % processes.count():
            raise ValueError(
                f"batch: expected a multiple of {processes.count()} processes, at most {slices} slices; found {batch}"
            )
        return slices // batch

    def _schedule(self) -> LRScheduler:
        settings = self.recipe.training
        if settings.schedule == "constant":
            return ConstantLR(self.optimiser, factor=1.0)
        return OneCycleLR(self.optimiser, settings.learning_rate, total_steps=settings.epochs * self.steps)

    def _precision(self) -> torch.autocast:
        """Mixed precision where the recipe asks for it."""
        dtype = PRECISIONS[self.recipe.training.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)


def _origin(start: Model) -> dict[str, Any]:
    return {"sha256": start.sha256, "training": [checkpoint.card.training for checkpoint in start.checkpoints]}


def _names(cases: Cases) -> dict[str, list[str]]:
    return {subset: [case.name for case in members] for subset, members in cases.items()}

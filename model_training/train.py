"""Training one region's network: one run, read from top to bottom."""

import json
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from model_training.augment import augment
from model_training.loss import batch_dice_loss
from model_training.prepare import CachedCase
from model_training.recipe import Recipe
from model_training.slices import SliceSet
from service.segmentation.labels import Region, region_masks
from service.segmentation.measure import dice
from service.segmentation.network import UNet, place
from service.segmentation.predict import SLICE_BATCH, predict_slices
from service.segmentation.weights import Card, Checkpoint, save_checkpoint


def train(recipe: Recipe, region: Region, cases: dict[str, list[CachedCase]], run: Path, device: torch.device) -> None:
    """Train one region's network on the training cases; keep the epoch with the best mean validation Dice.

    The folder `run` gets the weights, their card, a log line an epoch, and the state from which an interrupted run
    goes on at its next epoch.
    """
    run.mkdir(parents=True, exist_ok=True)
    training = SliceSet(cases["train"], stride=2**recipe.depth)

    torch.manual_seed(recipe.seed)
    network = place(UNet(out_channels=2, width=recipe.width, depth=recipe.depth), device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging), use_buffers=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    steps = len(training.draw(recipe.background_share, torch.Generator())) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.epochs * steps)
    parts = {"network": network, "average": average, "optimiser": optimiser, "schedule": schedule}
    first, best = _restore_state(run, recipe, parts)

    for epoch in range(first, recipe.epochs):
        started = monotonic()
        # Every epoch draws from a generator of its own, so that a resumed run sees what an unbroken one would.
        generator = torch.Generator().manual_seed(recipe.seed * 10_000 + epoch)
        order = training.draw(recipe.background_share, generator)
        batches = training.batches(order, recipe.batch, region)
        losses: list[float] = []
        network.train()
        for slices, masks in tqdm(batches, total=steps, desc=f"{region} {epoch + 1}/{recipe.epochs}", unit="step"):
            augmented = augment(slices.to(device), masks.to(device), generator)
            losses.append(_step(network, optimiser, *augmented))
            schedule.step()
            average.update_parameters(network)

        candidate = Checkpoint(average.module.eval(), _card(recipe, region, cases, epoch))
        scores = {case.name: _dice(candidate, case, device) for case in cases["validation"]}
        mean_dice = float(np.mean(list(scores.values())))
        if mean_dice > best:
            best = mean_dice
            save_checkpoint(run, candidate)
        seconds = monotonic() - started
        _log(run, epoch=epoch + 1, loss=float(np.mean(losses)), dice=mean_dice, cases=scores, seconds=seconds)
        _save_state(run, parts, recipe=asdict(recipe), epochs_done=epoch + 1, best=best)


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, slices: Tensor, masks: Tensor) -> float:
    """One step of gradient descent; gives the loss."""
    with torch.autocast(slices.device.type, torch.bfloat16):
        logits = network(slices.contiguous(memory_format=torch.channels_last))
    truth = torch.cat([1 - masks, masks], dim=1)
    loss = batch_dice_loss(logits.float().softmax(dim=1), truth)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _dice(checkpoint: Checkpoint, case: CachedCase, device: torch.device) -> float:
    """The Dice of one subject, in reduced precision: it ranks epochs and is not the figure to report."""
    predicted = []
    for start in range(0, len(case.scores), SLICE_BATCH):
        slices = case.scores[start : start + SLICE_BATCH].astype(np.float32)
        with torch.autocast(device.type, torch.bfloat16):
            predicted.append(predict_slices(checkpoint, slices, device)[:, 0] > 0.5)
    [region] = checkpoint.card.regions
    return dice(np.concatenate(predicted), region_masks(case.labels)[region])


def _card(recipe: Recipe, region: Region, cases: dict[str, list[CachedCase]], epoch: int) -> Card:
    return Card(
        name=recipe.name,
        version=recipe.version,
        regions=(region,),
        width=recipe.width,
        depth=recipe.depth,
        licence=recipe.licence,
        attribution=recipe.attribution,
        intended_use=recipe.intended_use,
        training={
            "recipe": asdict(recipe),
            "cases": [case.name for case in cases["train"]],
            "chosen_on": [case.name for case in cases["validation"]],
            "epoch": epoch + 1,
        },
    )


def _log(run: Path, **entries: object) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(entries) + "\n")


def _save_state(run: Path, parts: dict[str, Any], **progress: object) -> None:
    state = {name: part.state_dict() for name, part in parts.items()} | progress
    torch.save(state, run / "state.partial")
    (run / "state.partial").replace(run / "state.pt")


def _restore_state(run: Path, recipe: Recipe, parts: dict[str, Any]) -> tuple[int, float]:
    """Epochs done and best mean Dice so far of an interrupted run; 0 and -1 for a new one.

    Raises ValueError where the folder holds a run of another recipe.
    """
    if not (run / "state.pt").exists():
        return 0, -1.0
    state = torch.load(run / "state.pt", weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise ValueError(f"{run.name}: expected a run of this recipe, found one of another; choose a new folder")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["epochs_done"], state["best"]

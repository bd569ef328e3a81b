"""Validation during training: Dice on the validation cases, and which epoch's weights are saved."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model_training.data.prepare import CachedCase
from model_training.recipe import Training
from model_training.training.run import Progress
from service.imaging.labels import Region, region_masks
from service.networks.checkpoints import save_checkpoint
from service.networks.model import Model
from service.segmentation.measure import dice
from service.segmentation.predict import predict_masks


def save_if_best(
    model: Model, cases: Sequence[CachedCase], settings: Training, progress: Progress, weights: Path
) -> dict[str, float]:
    """Save a model of one network if it is the best so far, and return its Dice on every validation case.

    Without validation cases, save it after the last epoch. In epochs without validation, do nothing.
    """
    [checkpoint] = model.checkpoints
    is_last = progress.epoch == settings.epochs
    if not cases:
        if is_last:
            save_checkpoint(weights, checkpoint)
        return {}
    if not is_last and progress.epoch % settings.validate_every:
        return {}
    scores = {
        f"dice/{region}/{case.name}": score for case in cases for region, score in _dice_by_region(model, case).items()
    }
    mean = float(np.mean(list(scores.values())))
    if mean > progress.best_dice:
        progress.best_dice = mean
        save_checkpoint(weights, checkpoint)
    return {"dice": mean} | scores


def _dice_by_region(model: Model, case: CachedCase) -> dict[Region, float]:
    """Dice of one case in the precision of training: it ranks epochs and is not the score to report."""
    masks = predict_masks(model, case.volumes).masks
    truth = region_masks(case.labels.T)
    return {region: dice(mask, truth[region]) for region, mask in masks.items()}

"""Estimate of the memory and time of a run, from a few steps, for `train --dry-run`."""

from statistics import median
from time import perf_counter

import torch
from torch.utils.data import DataLoader

from model_training.data.prepare import Cases
from model_training.memory import peak_memory_mib
from model_training.recipe import Recipe
from model_training.training.provenance import Provenance
from model_training.training.train import NetworkTrainer

STEPS = 5  # the first is a warm-up


def print_cost(recipe: Recipe, cases: Cases, device: torch.device) -> None:
    """Run a few steps of the first network; print the memory of a step and the estimated time for all networks."""
    run = NetworkTrainer(Provenance(recipe, cases, initial_weights=None), recipe.network.regions[0], device)
    before_mib = peak_memory_mib(device)
    seconds = _time_step(run)
    after_mib = peak_memory_mib(device)
    networks, batch, epochs = len(recipe.network.regions), recipe.training.batch, recipe.training.epochs
    parameters = sum(parameter.numel() for parameter in run.network.parameters())
    height, width = run.slices.patch_size
    total = _format_duration(networks * epochs * run.steps * seconds)
    scope = "on the GPU" if device.type == "cuda" else "of the whole process"
    print(f"networks     {networks} with {parameters / 1e6:.2f} million parameters each, patches of {height} x {width}")
    print(f"step         {seconds:.2f} s and {after_mib - before_mib:.0f} MiB with batch size {batch}, on {device}")
    print(f"peak memory  {after_mib:.0f} MiB {scope}")
    print(f"run          {networks} x {epochs} epochs x {run.steps} steps: {total}")


def _time_step(run: NetworkTrainer) -> float:
    """Median duration of a step in seconds."""
    size = run.settings.batch
    order = (run.slices.epoch_order(0) * STEPS)[: STEPS * size]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    times = []
    started = perf_counter()
    for sample in DataLoader(run.slices, batch_sampler=batches):
        run.step(sample)  # it reads the loss and therefore waits for a GPU
        times.append(perf_counter() - started)
        started = perf_counter()
    return median(times[1:])


def _format_duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"

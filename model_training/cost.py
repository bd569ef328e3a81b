"""What a run will take, from some steps of it: for `train --dry-run`."""

from statistics import median
from time import perf_counter

import torch
from torch.utils.data import DataLoader

from model_training.memory import peak_memory_mib
from model_training.prepare import Cases
from model_training.recipe import Recipe
from model_training.train import NetworkRun

STEPS = 5  # the first of which warms up


def print_cost(recipe: Recipe, cases: Cases, device: torch.device) -> None:
    """Do some steps of the first network; print the memory of a step and the time that all networks will take."""
    run = NetworkRun(recipe, recipe.network.regions[0], cases, device, start=None)
    before_mib = peak_memory_mib(device)
    seconds = _time_steps(run)
    after_mib = peak_memory_mib(device)
    networks, batch, epochs = len(recipe.network.regions), recipe.training.batch, recipe.training.epochs
    parameters = sum(parameter.numel() for parameter in run.network.parameters())
    height, width = run.slices.frame
    total = _hours(networks * epochs * run.steps * seconds)
    print(f"networks    {networks} of {parameters / 1e6:.2f} million parameters, on slices of {height} x {width}")
    print(f"a step      {seconds:.2f} s and {after_mib - before_mib:.0f} MiB at batch {batch}, on {device}")
    print(f"memory      {after_mib:.0f} MiB at its peak, {'on the card' if device.type == 'cuda' else 'all included'}")
    print(f"the run     {networks} x {epochs} epochs x {run.steps} steps: {total}")


def _time_steps(run: NetworkRun) -> float:
    size = run.recipe.training.batch
    order = (run.slices.epoch(0) * STEPS)[: STEPS * size]
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    times = []
    started = perf_counter()
    for sample in DataLoader(run.slices, batch_sampler=batches):
        run.step(sample)  # reads the loss back, and so waits for a GPU
        times.append(perf_counter() - started)
        started = perf_counter()
    return median(times[1:])


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"

"""What the device could do at most, and what a case asks of it."""

import torch
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from service.segmentation.model import Model
from service.segmentation.normalise import NormalisedCase
from service.segmentation.predict import predict_masks

GIGA = 1e9
SIDE = 2048
PRODUCTS_TIMED = 5


def matrix_gflop_s(precision: torch.dtype, device: torch.device) -> float:
    """The rate of a large matrix product, in 10^9 operations a second: no convolution on the device goes far beyond."""
    multiply = torch._int_mm if precision == torch.int8 else torch.mm
    left, right = (torch.randn(SIDE, SIDE, device=device).to(precision) for _ in range(2))
    multiply(left, right)  # warms up
    timer = Timer("multiply(left, right)", globals=locals(), num_threads=torch.get_num_threads())
    return 2 * SIDE**3 / timer.timeit(PRODUCTS_TIMED).mean / GIGA


def network_gflop(model: Model, case: NormalisedCase) -> float:
    """The floating-point operations (10^9) of the networks on a case, as run: windows, and no slice without need."""
    with FlopCounterMode(display=False) as counter:
        predict_masks(model, case.scores, case.grid.voxel_ml)
    return float(counter.get_total_flops() / GIGA)

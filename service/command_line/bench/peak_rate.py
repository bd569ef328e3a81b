"""Throughput of a large matrix product on the device, and the operations that a case needs."""

import torch
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from service.imaging.normalise import NormalisedCase
from service.networks.model import Model
from service.segmentation.predict import predict_masks

GIGA = 1e9
MATRIX_SIZE = 2048
MIN_RUN_TIME_S = 1.0  # so that a data type that the CPU emulates, at 30 s per product, is measured only once


def matrix_gflop_s(precision: torch.dtype, device: torch.device) -> float:
    """Throughput of a large matrix product in GFLOP/s (GOP/s for INT8): a practical upper bound for convolutions."""
    multiply = torch._int_mm if precision == torch.int8 else torch.mm
    left, right = (torch.randn(MATRIX_SIZE, MATRIX_SIZE, device=device).to(precision) for _ in range(2))
    timer = Timer("multiply(left, right)", globals=locals(), num_threads=torch.get_num_threads())
    # Without warm-up of its own: this first measures one product, to choose how many to time.
    return 2 * MATRIX_SIZE**3 / timer.blocked_autorange(min_run_time=MIN_RUN_TIME_S).mean / GIGA


def network_gflop(model: Model, case: NormalisedCase) -> float:
    """Floating-point operations (10^9) of the networks on a case, on the cropped slices that the service processes."""
    with FlopCounterMode(display=False) as counter:
        predict_masks(model, case.intensities)
    return float(counter.get_total_flops() / GIGA)

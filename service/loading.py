"""Loading the weights and warming up."""

from dataclasses import replace

import torch

from service.imaging import phantom
from service.machine.device import choose_device, choose_precision, limit_memory, usable_cpus
from service.networks.checkpoints import load_model
from service.networks.modality_network import load_modality_network
from service.networks.model import Model
from service.segmentation.pipeline import segment
from service.segmentation.predict import fit_batch_size
from service.settings import Settings


def load_and_warm_up(settings: Settings) -> Model:
    """Load the weights and segment the phantom once, so that the first request does not pay for one-time work.

    Raises SettingsError or WeightsError.
    """
    torch.set_num_threads(settings.threads or usable_cpus())
    device = choose_device(settings.device)
    limit_memory(device, settings.device_memory_mib)
    model = load_model(settings.weights, device, with_int8=settings.precision in ("auto", "int8"))
    model = replace(model, modality_network=load_modality_network())
    model = model.optimised(choose_precision(settings.precision))
    if device.type == "cuda":
        model = fit_batch_size(model)
    segment(phantom.encode_phantom(phantom.make_phantom(phantom.SLAB_GRID)), model)
    return model

"""The device that computes."""

import torch

from service.errors import SettingsError


def choose_device(name: str) -> torch.device:
    """The device called cpu or cuda, or by auto the better one that there is. Raises SettingsError without it."""
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("GLIOSERVE_DEVICE: expected a CUDA card that this build of torch supports, found none.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)

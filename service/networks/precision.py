"""Data types of the networks, and moving a network to a device in its fastest memory layout."""

from copy import deepcopy
from typing import cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from service.networks.int8 import has_fast_int8
from service.networks.unet import DoubleConvolution


def fastest_precision(device: torch.device, *, has_int8: bool) -> torch.dtype:
    """The data type in which a device computes convolutions fastest.

    On CPUs it costs at most 0.002 of mean Dice (docs/performance.md); float16 has not been evaluated.

    `has_int8` says whether the networks are available in INT8.
    """
    if device.type == "cuda":
        return torch.float16
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older torch releases
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return torch.bfloat16
    return torch.int8 if has_int8 and has_fast_int8(capabilities) else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """Name of a data type without the prefix `torch.`."""
    return str(precision).removeprefix("torch.")


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, in the memory layout in which convolutions run fastest."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # stubs


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, with each batch normalisation folded into its convolution."""
    network = deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, DoubleConvolution):
            for position, layer in enumerate(block):
                if isinstance(layer, nn.BatchNorm2d):
                    convolution = cast(nn.Conv2d, block[position - 1])
                    block[position - 1] = fuse_conv_bn_eval(convolution, layer)
                    block[position] = nn.Identity()
    return network

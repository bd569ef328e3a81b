"""The paper's network: the 2D U-Net of Ronneberger et al. 2015 (section III.B)."""

from copy import deepcopy
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from service.segmentation.quantised import multiplies_integers_fastest


class DoubleConvolution(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    """Doubles height and width, joins the encoder's features of that size, and convolves twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.convolve = DoubleConvolution(2 * outputs, outputs)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Deep features (B, 2C, H/2, W/2) and the encoder's (B, C, H, W) to features (B, C, H, W)."""
        joined: Tensor = self.convolve(torch.cat([skip, self.upsample(deep)], dim=1))
        return joined


class UNet(nn.Module):
    """A 2D U-Net: `width` features at full size, doubled at each of `depth` halvings; 64 and 4 are the paper's size."""

    def __init__(self, out_channels: int, width: int = 16, depth: int = 4, in_channels: int = 4) -> None:
        super().__init__()
        features = [width * 2**level for level in range(depth + 1)]
        self.enter = DoubleConvolution(in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in pairwise(features))
        self.up = nn.ModuleList(Up(b, a) for a, b in reversed(list(pairwise(features))))
        self.classify = nn.Conv2d(width, out_channels, kernel_size=1)

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (B, in_channels, H, W), H and W multiples of 2 ** depth, to logits (B, out_channels, H, W)."""
        skips = [self.enter(slices)]
        for down in self.down:
            skips.append(down(self.pool(skips[-1])))
        features = skips.pop()
        for up in self.up:
            features = up(features, skips.pop())
        logits: Tensor = self.classify(features)
        return logits


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over two channels, background and one region; a sigmoid each for three regions (section III.B)."""
    return logits.softmax(dim=1) if logits.shape[1] == 2 else logits.sigmoid()


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, in the memory layout in which convolutions run fastest."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # stubs


def fastest_precision(device: torch.device, *, quantised: bool) -> torch.dtype:
    """The number format in which a device convolves fastest without a loss that scores would show.

    Eight-bit integers only of networks that are there `quantised`.
    """
    if device.type == "cuda":
        return torch.float16
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer releases of torch have it
    if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
        return torch.bfloat16
    return torch.int8 if quantised and multiplies_integers_fastest(capabilities) else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """The name of a number format without that of the library."""
    return str(precision).removeprefix("torch.")


def folded(network: nn.Module) -> nn.Module:
    """A copy of the network, in evaluation mode, with each batch normalisation folded into its convolution."""
    network = deepcopy(network).eval()
    for block in network.modules():
        if isinstance(block, DoubleConvolution):
            for position, layer in enumerate(block):
                if isinstance(layer, nn.BatchNorm2d):
                    convolution = cast(nn.Conv2d, block[position - 1])
                    block[position - 1] = fuse_conv_bn_eval(convolution, layer)
                    block[position] = nn.Identity()
    return network

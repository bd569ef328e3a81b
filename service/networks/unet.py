"""The paper's network (section III.B): the 2D U-Net of Ronneberger et al. 2015, padded and with batch normalisation."""

from itertools import pairwise

import torch
from torch import Tensor, nn


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
    """Upsample by 2, concatenate the encoder's features (skip connection), and convolve twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.convolve = DoubleConvolution(2 * outputs, outputs)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Deep features (B, 2C, H/2, W/2) and the encoder's (B, C, H, W) to features (B, C, H, W)."""
        joined: Tensor = self.convolve(torch.cat([skip, self.upsample(deep)], dim=1))
        return joined


class UNet(nn.Module):
    """A 2D U-Net: `width` channels at full resolution, doubled at each of `depth` downsamplings; paper: 64, 4."""

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
    """Softmax over two channels, background and one region; a sigmoid per channel for three regions (section III.B)."""
    return logits.softmax(dim=1) if logits.shape[1] == 2 else logits.sigmoid()

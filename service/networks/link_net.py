"""The 3D LinkNet (Chaurasia and Culurciello 2017) that finds the brain: a small ResNet as encoder, sums as skips."""

from itertools import pairwise

from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128)


class LinkNet(nn.Module):
    """Two channels, background and brain, from one volume; module names are those of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]
        self.init = nn.Sequential(
            nn.Conv3d(1, first, kernel_size=7, stride=2, padding=3, bias=False),
            nn.InstanceNorm3d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(kernel_size=3, stride=2, padding=1),
        )
        self.down0 = _stage(first, first)
        self.down1, self.down2, self.down3 = (_stage(a, b) for a, b in pairwise(WIDTHS))
        self.up0, self.up1, self.up2 = (Up(b, a, stride=2) for a, b in reversed(list(pairwise(WIDTHS))))
        self.up3 = Up(first, first, stride=1)
        half = first // 2
        self.tp_conv1 = nn.Sequential(
            nn.ConvTranspose3d(first, half, kernel_size=3, stride=2, padding=1, output_padding=1),
            nn.InstanceNorm3d(half),
            nn.ReLU(inplace=True),
        )
        self.conv = nn.Sequential(
            nn.Conv3d(half, half, kernel_size=3, padding=1), nn.InstanceNorm3d(half), nn.ReLU(inplace=True)
        )
        self.tp_conv2 = nn.ConvTranspose3d(half, 2, kernel_size=2, stride=2)

    def forward(self, volumes: Tensor) -> Tensor:
        """Volumes (B, 1, X, Y, Z), lengths multiples of 32, to logits (B, 2, X, Y, Z)."""
        entered = self.init(volumes)
        high = self.down0(entered)
        middle = self.down1(high)
        low = self.down2(middle)
        features = self.up0(self.down3(low)).add_(low)
        features = self.up1(features).add_(middle)
        features = self.up2(features).add_(high)
        features = self.up3(features).add_(entered)
        logits: Tensor = self.tp_conv2(self.conv(self.tp_conv1(features)))
        return logits


class Block(nn.Module):
    """A residual block of two convolutions; the first one may halve the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.double_conv = nn.Sequential(
            nn.Conv3d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.InstanceNorm3d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv3d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.InstanceNorm3d(outputs),
        )
        self.downsample = nn.Sequential()  # the identity
        if stride > 1:
            self.downsample.append(nn.Conv3d(inputs, outputs, kernel_size=1, stride=stride, bias=False))
            self.downsample.append(nn.InstanceNorm3d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, inputs, X, Y, Z) to (B, outputs, ...)."""
        changed: Tensor = self.double_conv(features)
        return changed.add_(self.downsample(features)).relu_()


class Up(nn.Sequential):
    """Fewer channels, transposed convolution, more channels again."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = inputs // 4
        transposed = nn.ConvTranspose3d(
            inner, inner, kernel_size=3, stride=stride, padding=1, output_padding=stride - 1, bias=False
        )
        for name, layer, channels in (
            ("conv1", nn.Conv3d(inputs, inner, kernel_size=1, bias=False), inner),
            ("tp_conv", transposed, inner),
            ("conv2", nn.Conv3d(inner, outputs, kernel_size=1, bias=False), outputs),
        ):
            self.add_module(name, nn.Sequential(layer, nn.InstanceNorm3d(channels), nn.ReLU(inplace=True)))


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    stage = nn.Sequential()
    stage.add_module("block1", Block(inputs, outputs))
    stage.add_module("block2", Block(outputs, outputs))
    return stage

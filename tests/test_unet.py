import pytest
import torch

from service.networks.unet import UNet


def test_the_default_network_has_its_documented_number_of_parameters():
    assert sum(parameter.numel() for parameter in UNet(out_channels=2).parameters()) == 1_942_738


def test_width_64_has_the_number_of_parameters_of_the_paper():
    with torch.device("meta"):
        network = UNet(out_channels=2, width=64)
    # The published U-Net for three input channels, plus the weights of a fourth one.
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_037_698 + 64 * 9


@pytest.mark.parametrize(("width", "depth", "channels"), [(2, 1, 2), (3, 2, 3), (2, 4, 2)])
def test_logits_have_the_size_of_the_input_slices(width, depth, channels):
    network = UNet(channels, width, depth)
    assert network(torch.zeros(3, 4, 32, 48)).shape == (3, channels, 32, 48)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    network = UNet(out_channels=2, width=2, depth=2)
    network(torch.randn(2, 4, 16, 16)).square().sum().backward()
    without = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []

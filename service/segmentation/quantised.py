"""A network in eight-bit integers, run by OpenVINO: for CPUs that multiply those far faster than floats."""

import sys
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from service.segmentation.errors import WeightsError


@dataclass(frozen=True)
class QuantisedWeights:
    """A network in OpenVINO's own format, as `model_training quantise` writes it."""

    graph: bytes  # XML
    constants: bytes

    @property
    def sha256(self) -> str:
        """One hash over both."""
        return sha256(self.graph + self.constants).hexdigest()


class QuantisedNetwork(nn.Module):
    """Slices (B, C, H, W) in float32, on the CPU, to logits (B, out_channels, H, W) in float32."""

    def __init__(self, weights: QuantisedWeights) -> None:
        super().__init__()
        openvino = load_openvino()
        core = openvino.Core()
        try:
            network = core.read_model(weights.graph, weights.constants)
        except RuntimeError as error:
            raise WeightsError("Quantised weights: expected a network that OpenVINO reads, found another.") from error
        # Slices come with the modalities of a voxel side by side, which is what the convolutions want as well.
        layout = openvino.preprocess.PrePostProcessor(network)
        layout.input().tensor().set_layout(openvino.Layout("NHWC"))
        layout.input().model().set_layout(openvino.Layout("NCHW"))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",  # of the few layers that stay in floats, on every CPU alike
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
        }
        self._request = core.compile_model(layout.build(), "CPU", settings).create_infer_request()

    def forward(self, slices: Tensor) -> Tensor:
        """Slices to logits; one call at a time."""
        self._request.infer({0: slices.permute(0, 2, 3, 1).contiguous().numpy()}, share_inputs=True)
        return torch.tensor(self._request.get_output_tensor(0).data)


def multiplies_integers_fastest(capabilities: dict[str, bool]) -> bool:
    """Whether a CPU has instructions for products of eight-bit integers, and OpenVINO is there to use them."""
    native = capabilities.get("avx512_vnni") or capabilities.get("avx_vnni")
    return bool(native) and find_spec("openvino") is not None


def load_openvino() -> Any:
    """The package OpenVINO, kept from reporting its use. Raises WeightsError where it is not installed."""
    # Importing it sends an event to its maker. Beside patients nothing calls home, so what would send is not there.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say so
    try:
        import openvino
    except ImportError as error:
        raise WeightsError("Precision int8: expected the package openvino, found none.") from error
    return openvino

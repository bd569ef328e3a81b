"""A network quantised to INT8 and run by OpenVINO, for CPUs that multiply 8-bit integers much faster than floats."""

import sys
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from service.networks.errors import WeightsError


@dataclass(frozen=True)
class Int8Weights:
    """A network in OpenVINO's format, as written by `model_training quantise`."""

    graph: bytes  # XML
    constants: bytes

    @property
    def sha256(self) -> str:
        """Hash of graph and constants together."""
        return sha256(self.graph + self.constants).hexdigest()


class Int8Network(nn.Module):
    """Maps slices (B, C, H, W) in float32, on the CPU, to logits (B, out_channels, H, W) in float32."""

    def __init__(self, weights: Int8Weights) -> None:
        super().__init__()
        openvino = load_openvino()
        core = openvino.Core()
        try:
            network = core.read_model(weights.graph, weights.constants)
        except RuntimeError as error:
            raise WeightsError("INT8 weights: expected a network in OpenVINO's format, found another.") from error
        # Slices arrive in the channels-last memory layout, which also suits the convolutions.
        layout = openvino.preprocess.PrePostProcessor(network)
        layout.input().tensor().set_layout(openvino.Layout("NHWC"))
        layout.input().model().set_layout(openvino.Layout("NCHW"))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",  # the few floating-point layers use this type on every CPU
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
        }
        self._request = core.compile_model(layout.build(), "CPU", settings).create_infer_request()

    def forward(self, slices: Tensor) -> Tensor:
        """Map slices to logits. Not thread-safe."""
        self._request.infer({0: slices.permute(0, 2, 3, 1).contiguous().numpy()}, share_inputs=True)
        return torch.tensor(self._request.get_output_tensor(0).data)


def has_fast_int8(capabilities: dict[str, bool]) -> bool:
    """Whether the CPU has INT8 dot-product instructions (VNNI), and OpenVINO is installed to use them."""
    native = capabilities.get("avx512_vnni") or capabilities.get("avx_vnni")
    return bool(native) and find_spec("openvino") is not None


def load_openvino() -> Any:
    """Import OpenVINO, which is optional, with its telemetry disabled. Raises WeightsError if it is not installed."""
    # Importing OpenVINO sends a usage event. This service never sends data out, so the telemetry package is blocked.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # makes its import fail
    try:
        return import_module("openvino")
    except ImportError as error:
        raise WeightsError("Precision int8: expected the package openvino, found none.") from error

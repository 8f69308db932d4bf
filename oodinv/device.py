"""Choice of the device, and the number formats it supports."""

import re

import torch

_NAME = re.compile(r"cpu|cuda(:\d{1,3})?")


def choose(name: str) -> torch.device:
    """Returns the named device; `auto` is the first CUDA device if there is one, otherwise the CPU.

    Raises:
        ValueError: the name is invalid, or the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"unknown device {name}; use auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name} is not available: PyTorch finds {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


INSTRUCTIONS = {
    torch.bfloat16: ("_is_amx_tile_supported", "_is_avx512_bf16_supported"),
    torch.float16: ("_is_amx_fp16_supported",),
}
"""PyTorch's checks for x86 instructions that multiply numbers of a format; one of them suffices."""


def supports_natively(device: torch.device, dtype: torch.dtype) -> bool:
    """True if the device has instructions for a number format.

    A CPU without them (AMX or AVX-512 BF16, AMX-FP16) is several times slower than in float32.
    """
    if device.type != "cpu" or dtype not in INSTRUCTIONS:
        return True
    vectors = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return vectors and any(getattr(torch.cpu, name, lambda: False)() for name in INSTRUCTIONS[dtype])

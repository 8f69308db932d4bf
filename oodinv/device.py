"""Which device to compute on."""

import re

import torch

_NAME = re.compile(r"cpu|cuda(:\d{1,3})?")


def choose(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; otherwise the named one.

    Raises:
        ValueError: the name is no device, or it isn't there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name} is neither auto, cpu, cuda nor cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name} is not there: this PyTorch sees {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


INSTRUCTIONS = {
    torch.bfloat16: ("_is_amx_tile_supported", "_is_avx512_bf16_supported"),
    torch.float16: ("_is_amx_fp16_supported",),
}
"""PyTorch's questions about instructions of x86 that multiply numbers of a format, any of which will do."""


def multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the device has instructions for a number format.

    A CPU without them (AMX or AVX-512 BF16, AMX-FP16) takes several times as long as in float32.
    """
    if device.type != "cpu" or dtype not in INSTRUCTIONS:
        return True
    vectors = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return vectors and any(getattr(torch.cpu, name, lambda: False)() for name in INSTRUCTIONS[dtype])

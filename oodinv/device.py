"""Which device to compute on."""

import torch


def choose(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; otherwise the named one.

    Raises:
        ValueError, RuntimeError: the name is no device, or it isn't there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"{name} is neither auto, cpu, cuda nor cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name} is not there: this PyTorch sees {torch.cuda.device_count()} CUDA devices; use cpu")
    return device

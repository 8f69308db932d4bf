"""Device, precision and memory layout of training."""

import importlib.util
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from oodinv.device import supports_natively
from oodinv.training.parallel import ALONE, Team

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
R = TypeVar("R")

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Compute:
    """Device and precision of a run, the processes that share it, and a flag for compiled functions."""

    device: torch.device
    bfloat16: bool
    team: Team = ALONE
    compiles: bool = False

    def place(self, module: M) -> M:
        """Moves a module to the device, in channels_last."""
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def move(self, images: Tensor) -> Tensor:
        """Moves a batch (B, C, H, W) to the device, in channels_last."""
        return images.to(self.device, memory_format=torch.channels_last, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 autocast, or nothing in float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()

    def compiled(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function compiled for fixed shapes, if `compiles`."""
        return torch.compile(function, dynamic=False) if self.compiles else function


def has_compiler(device: torch.device) -> bool:
    """True if torch.compile has its compiler: a C++ compiler for CPUs, Triton for GPUs."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def compute_for(device: torch.device, precision: Precision, team: Team = ALONE) -> Compute:
    """Resolves a precision; `auto` is bfloat16 where the hardware multiplies it, float32 elsewhere."""
    fast = supports_natively(device, torch.bfloat16)
    return Compute(device, fast if precision == "auto" else precision == "bfloat16", team, has_compiler(device))


def synchronise_norms(module: M, compute: Compute) -> M:
    """Makes batch norms use the whole batch that several processes share; PyTorch has this for GPUs alone.

    On CPUs each process normalises its own share, so that two processes don't equal one with twice the batch.
    """
    if compute.team.size == 1 or compute.device.type != "cuda":
        return module
    return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return]

"""Training of one model by several processes, each on its share of every batch.

Gradients are averaged before each update, so that it equals that of one process with the whole batch, as with
DistributedDataParallel. The call is explicit, because tasks use their networks through functions, which that wrapper
would bypass.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from oodinv.errors import RecipeError


@dataclass(frozen=True)
class Team:
    """The processes of a run; `rank` is this one's number. A team of one does nothing."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True if this process writes logs, grids and checkpoints."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch (B, …) → (B / size, …).

        Every size-th sample: so the groups of samples that the discriminator compares stay together, as long
        as a share is a multiple of four.
        """
        return batch[self.rank :: self.size]

    def average_gradients(self, *modules: nn.Module) -> None:
        """Replaces gradients by their means over the team."""
        gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
        if self.size > 1:
            _average(gradients)

    def average_buffers(self, *modules: nn.Module) -> None:
        """Replaces floating-point buffers, such as the statistics of batch norm, by their means over the team."""
        buffers = [b for module in modules for b in module.buffers() if b.is_floating_point()]
        if self.size > 1:
            _average(buffers)

    def any(self, flag: bool) -> bool:
        """True if the flag is set in any process of the team."""
        if self.size == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        flags = torch.tensor(float(flag), device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def mean(self, x: Tensor) -> Tensor:
        """Mean of x over the whole batch → scalar, with the gradient that the local mean has.

        Averaged gradients of a function of this mean are then those of the whole batch.
        """
        local = x.mean()
        if self.size == 1:
            return local
        total = local.detach().clone()
        _average([total])
        return local + (total - local).detach()


ALONE = Team()


@torch.no_grad()
def _average(tensors: list[Tensor]) -> None:
    """All-reduces tensors of one dtype as one vector."""
    if not tensors:
        return
    vector = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(vector)
    vector /= dist.get_world_size()
    for tensor, mean in zip(tensors, vector.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.reshape(tensor.shape))


def wait(team: Team) -> None:
    """Waits until every process is here."""
    if team.size > 1:
        dist.barrier()


@contextmanager
def joined(device: torch.device, batch: int) -> Iterator[Team]:
    """The team that torchrun started this process in, for as long as the context lasts; else a team of one.

    batch: number of images that the team is to share. Gloo connects CPUs, NCCL GPUs.

    Raises:
        RecipeError: the processes can't share a batch evenly.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if batch % size:
        raise RecipeError(f"{size} processes can't share batches of {batch} evenly; choose another --batch-size")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # This module's functions have the group as a default argument. Imported later on, as PyTorch's optimisers do,
    # they would keep it, with Gloo's threads, beyond its end; and the interpreter's end may abort such a thread.
    from torch.distributed.nn import functional  # noqa: F401

    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()

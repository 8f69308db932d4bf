"""Inversion of a batch of aligned crops: encode, synthesise with alignment, composite.

Source: "Out-of-domain GAN inversion via invertibility decomposition" (Yang et al., ICCV 2023), METHOD §1.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.device import multiplies
from oodinv.errors import OodinvError
from oodinv.faces.align import AlignedFace
from oodinv.imaging.pixels import Pixels, to_tensor, to_uint8
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import Noise
from oodinv.models.ops import composite, final_mask
from oodinv.models.samm import Alignment, AlignmentSource, Predicted, Reused
from oodinv.models.synthesis import synthesize_aligned
from oodinv.weights.build import Model

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Inversion:
    """Everything one inversion computed for a batch of B crops of the model's size H = W.

    w_plus (B, num_ws, w_dim): latent codes, edited if a delta was given.
    generated (B, 3, H, W): generator output g after alignment, about [−1, 1], not clipped.
    alignments {S: Alignment}: flow and mask at each of SAMM's sizes; empty without SAMM.
    mask (B, 1, H, W) in [0, 1]: M, 1 = out of domain = copied from the input; zero without SAMM.
    composite (B, 3, H, W), about [−1, 1]: y = M·x + (1 − M)·g.
    """

    w_plus: Tensor
    generated: Tensor
    alignments: dict[int, Alignment]
    mask: Tensor
    composite: Tensor


@contextmanager
def computing(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """No gradients; convolutions and matrix products in `dtype`, the rest in float32.

    On a CPU without instructions for a half-precision `dtype` all is in float32, which is several times as fast there.
    """
    half = dtype != torch.float32 and multiplies(device, dtype)
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=half)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=half), exact:
        yield


def encode(model: Model, image: Tensor, dtype: torch.dtype = torch.float32) -> Encoding:
    """image (B, 3, H, W) in [−1, 1] on the model's device → latent codes and features."""
    with computing(image.device, dtype):
        return model.encoder.encode(image, model.generator)


def decode(
    model: Model,
    image: Tensor,
    w_plus: Tensor,
    source: Encoding | dict[int, Alignment],
    noise: Noise = "fixed",
    dtype: torch.dtype = torch.float32,
) -> Inversion:
    """Generates from w_plus (B, num_ws, w_dim) and composites with the image (B, 3, H, W) in [−1, 1].

    `source` is an encoding, whose features SAMM aligns to, or the alignments of an earlier inversion to use
    again: the second keeps an edit from being treated as out of domain and copied away (METHOD §5).
    """
    with computing(image.device, dtype):
        generated, alignments = _generate(model, w_plus.float(), source, noise)
        generated = generated.float()
        if alignments:
            mask = final_mask({size: a.mask for size, a in alignments.items()}, model.card.size)
        else:
            mask = torch.zeros_like(image[:, :1], dtype=torch.float32)
        return Inversion(w_plus, generated, alignments, mask, composite(image, generated, mask))


def _generate(
    model: Model, w_plus: Tensor, source: Encoding | dict[int, Alignment], noise: Noise
) -> tuple[Tensor, dict[int, Alignment]]:
    aligned: AlignmentSource | None
    if not isinstance(source, Encoding):
        aligned = Reused(source)
    else:
        aligned = None if model.samm is None else Predicted(model.samm, source.features)
    return synthesize_aligned(model.generator, w_plus, aligned, noise)


def invert(
    model: Model,
    image: Tensor,
    *,
    noise: Noise = "fixed",
    delta: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Inversion:
    """Inverts aligned crops (B, 3, H, W) in [−1, 1], H = W = the model's size, on the model's device.

    `delta`, broadcastable to (B, num_ws, w_dim), is added to the latent codes before the generator; flow and
    mask are then those of the edited pass. To keep the unedited ones, `decode` with an earlier inversion's.
    """
    encoding = encode(model, image, dtype)
    w_plus = encoding.w_plus.float()
    return decode(model, image, w_plus if delta is None else w_plus + delta, encoding, noise, dtype)


@dataclass(frozen=True, eq=False)
class Subject:
    """One face of a photo: its name below the output folders, its crop, and where that was cut out.

    crop uint8 (size, size, 3). `aligned` is None where the input was a crop already; `deep` is the same crop,
    float32 (3, size, size) in [−1, 1], where its file has 16 bits a channel.
    """

    name: str
    crop: Pixels
    aligned: AlignedFace | None
    deep: NDArray[np.float32] | None = None

    def tensor(self) -> Tensor:
        """The crop as the network sees it, float32 (3, size, size) in [−1, 1]."""
        return to_tensor(self.crop)[0] if self.deep is None else torch.from_numpy(self.deep)


@dataclass(frozen=True, eq=False)
class Artefacts:
    """One face's results as they are stored; `flows` holds flow_S, mask_S, mask and an edit's movement by name."""

    subject: Subject
    w_plus: NDArray[np.float32]
    flows: dict[str, NDArray[np.floating]]
    mask: Pixels
    generated: Pixels
    composite: Pixels


def saved_alignments(inversion: Inversion) -> dict[str, NDArray[np.floating]]:
    """Flows (B, 2, S, S) and masks (B, 1, S, S) of a batch by the names under which they are saved."""
    return {
        key: value.float().cpu().numpy()
        for size, alignment in inversion.alignments.items()
        for key, value in ((f"flow_{size}", alignment.flow), (f"mask_{size}", alignment.mask))
    }


def artefacts(subjects: list[Subject], inversion: Inversion) -> list[Artefacts]:
    """Splits a batch's inversion into one set of artefacts for each of its subjects."""
    generated = to_uint8(inversion.generated)
    composite = to_uint8(inversion.composite)
    mask = inversion.mask[:, 0].float().cpu().numpy()
    w_plus = inversion.w_plus.float().cpu().numpy()
    fields = saved_alignments(inversion)
    return [
        Artefacts(
            subject=subject,
            w_plus=w_plus[i],
            flows={**{key: value[i] for key, value in fields.items()}, "mask": mask[i].astype(np.float16)},
            mask=np.rint(mask[i] * 255).astype(np.uint8),
            generated=generated[i],
            composite=composite[i],
        )
        for i, subject in enumerate(subjects)
    ]


T = TypeVar("T")
R = TypeVar("R")


def in_halves(faces: list[T], compute: Callable[[list[T]], list[R]], device: torch.device, size: int) -> list[R]:
    """A batch's results, or those of its halves one after the other where memory is too small for it.

    size: of the model's pictures, to name it.

    Raises:
        OodinvError: memory is too small for one face.
    """
    found = _attempt(faces, compute)
    if found is not None:
        return found
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(faces) == 1:
        raise OodinvError(
            f"{device} has too little memory for a single face of {size} px; use --dtype bfloat16 or --device cpu, or "
            "free memory"
        )
    half = len(faces) // 2
    return in_halves(faces[:half], compute, device, size) + in_halves(faces[half:], compute, device, size)


def _attempt(faces: list[T], compute: Callable[[list[T]], list[R]]) -> list[R] | None:
    """A batch's results; None if memory doesn't suffice, with all that was allocated let go."""
    try:
        return compute(faces)
    except RuntimeError as error:  # on the CPU, PyTorch has no class of its own for it
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
    return None

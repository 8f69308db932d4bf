"""Inversion of a batch of aligned crops: encode, synthesise with alignment, composite.

Source: "Out-of-domain GAN inversion via invertibility decomposition" (Yang et al., ICCV 2023), METHOD §1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from oodinv.device import multiplies
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.stylegan2 import Noise
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

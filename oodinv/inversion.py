"""Inversion of a batch of aligned crops: encode, synthesise with alignment, composite.

Source: "Out-of-domain GAN inversion via invertibility decomposition" (Yang et al., ICCV 2023).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.compositing.compose import PARTS_KEY
from oodinv.device import supports_natively
from oodinv.errors import OodinvError
from oodinv.faces.align import AlignedFace
from oodinv.faces.parts import PartMap, without_islands
from oodinv.fitting.refinement import Refiner
from oodinv.imaging.pixels import Pixels, to_tensor, to_uint8
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import Noise, PhotoNoise, photo_noise
from oodinv.models.ops import composite, final_mask
from oodinv.models.samm import Alignment, AlignmentSource, Predicted, Reused
from oodinv.models.synthesis import synthesize_aligned
from oodinv.weights.build import Model
from oodinv.weights.parser import load_parser

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Inversion:
    """Result of inverting a batch of B crops of the model's size H = W.

    w_plus (B, num_ws, w_dim): latent codes, edited if a delta was given. noise: `PhotoNoise.offsets`, of the encoder or
    of a refinement. pivot (B, num_ws, w_dim): a refinement's codes for edits (`Refined.pivot`); None without one.
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
    noise: Mapping[int, Tensor] = field(default_factory=dict)
    pivot: Tensor | None = None


@contextmanager
def inference(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Context without gradients in which convolutions and matrix products use `dtype`, the rest float32.

    A CPU without instructions for a half-precision `dtype` uses float32, which is several times as fast there.
    """
    with torch.inference_mode(), autocast(device, dtype):
        yield


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Context of the dtypes of `inference`, with gradients."""
    half = dtype != torch.float32 and supports_natively(device, dtype)
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=half)
    with torch.autocast(device.type, dtype, enabled=half), exact:
        yield


def encode(model: Model, image: Tensor, dtype: torch.dtype = torch.float32) -> Encoding:
    """Encodes images (B, 3, H, W) in [−1, 1], on the model's device, into latent codes, features and noise."""
    with inference(image.device, dtype):
        if model.runtime is not None:
            return model.runtime.encode(image)
        return model.encoder.encode(image, model.generator)


def decode(
    model: Model,
    image: Tensor,
    w_plus: Tensor,
    source: Encoding | dict[int, Alignment],
    noise: Noise | PhotoNoise = "fixed",
    dtype: torch.dtype = torch.float32,
) -> Inversion:
    """Generates from w_plus (B, num_ws, w_dim) and composites with the image (B, 3, H, W) in [−1, 1].

    source: an encoding, to whose features SAMM aligns, or the alignments of an earlier inversion. The latter prevent an
    edit from being detected as out of domain and overwritten by the input.
    """
    with inference(image.device, dtype):
        generated, alignments = _generate(model, w_plus.float(), source, noise)
        generated = generated.float()
        if alignments:
            mask = final_mask({size: a.mask for size, a in alignments.items()}, model.card.size)
        else:
            mask = torch.zeros_like(image[:, :1], dtype=torch.float32)
        offsets = noise.offsets if isinstance(noise, PhotoNoise) else {}
        return Inversion(w_plus, generated, alignments, mask, composite(image, generated, mask), offsets)


def _generate(
    model: Model, w_plus: Tensor, source: Encoding | dict[int, Alignment], noise: Noise | PhotoNoise
) -> tuple[Tensor, dict[int, Alignment]]:
    aligned: AlignmentSource | None
    if not isinstance(source, Encoding):
        aligned = Reused(source)
    else:
        aligned = None if model.samm is None else Predicted(model.samm, source.features)
    if model.runtime is not None:
        return model.runtime.synthesize(w_plus, aligned, noise)
    return synthesize_aligned(model.generator, w_plus, aligned, noise)


def invert(
    model: Model,
    image: Tensor,
    *,
    noise: Noise = "fixed",
    delta: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    refiner: Refiner | None = None,
) -> Inversion:
    """Inverts aligned crops (B, 3, H, W) in [−1, 1], H = W = the model's size, on the model's device.

    refiner: optimises the encoder's codes, and noise maps, before the picture is generated.
    delta: added to the latent codes, broadcastable to (B, num_ws, w_dim); flows and masks are then those of the edited
    pass. For those of the unedited pass, call `decode` with its alignments.
    """
    encoding = encode(model, image, dtype)
    w_plus = encoding.w_plus.float()
    source: Encoding | dict[int, Alignment] = encoding
    chosen, pivot = photo_noise(noise, encoding.noise), None
    if refiner is not None and refiner.steps:
        with autocast(image.device, dtype):
            refined = refiner.refine(image, encoding)
        w_plus, source, chosen = refined.w_plus, refined.alignments or encoding, photo_noise(noise, refined.noise)
        pivot = refined.pivot
    made = decode(model, image, w_plus if delta is None else w_plus + delta, source, chosen, dtype)
    return replace(made, pivot=pivot)


@dataclass(frozen=True, eq=False)
class Subject:
    """One face of a photo: its name below the output folders, its crop and its alignment.

    crop uint8 (size, size, 3). aligned: None if the input is a crop itself. deep: the same crop, float32
    (3, size, size) in [−1, 1], if its file has 16 bits per channel.
    """

    name: str
    crop: Pixels
    aligned: AlignedFace | None
    deep: NDArray[np.float32] | None = None

    def tensor(self) -> Tensor:
        """Converts the crop to the network's input, float32 (3, size, size) in [−1, 1]."""
        return to_tensor(self.crop)[0] if self.deep is None else torch.from_numpy(self.deep)


Arrays = dict[str, NDArray[Any]]
"""Arrays of a face by the keys under which they are saved."""


@dataclass(frozen=True, eq=False)
class Artefacts:
    """Results for one face as they are saved.

    w_plus, pivot (num_ws, w_dim): codes of the picture, and for edits if it was refined. flows: flow_S (2, S, S),
    mask_S (1, S, S), mask (H, W), the edit flow (2, s, s), and the label map `parts` (s, s), by key.
    mask uint8 (H, W), 255 = copied from the input; generated, composite uint8 (H, W, 3).
    """

    subject: Subject
    w_plus: NDArray[np.float32]
    flows: Arrays
    mask: Pixels
    generated: Pixels
    composite: Pixels
    pivot: NDArray[np.float32] | None = None

    @property
    def edited_from(self) -> NDArray[np.float32]:
        """Codes (num_ws, w_dim) that edits start from: the pivot, or without a refinement w_plus."""
        return self.w_plus if self.pivot is None else self.pivot


def saved_alignments(inversion: Inversion) -> dict[str, NDArray[np.floating]]:
    """Flows (B, 2, S, S) and masks (B, 1, S, S) of a batch by the keys under which they are saved."""
    return {
        key: value.float().cpu().numpy()
        for size, alignment in inversion.alignments.items()
        for key, value in ((f"flow_{size}", alignment.flow), (f"mask_{size}", alignment.mask))
    }


def parse(crops: Sequence[Pixels]) -> list[PartMap]:
    """Finds the parts of the faces in crops uint8 (S, S, 3). → label maps, uint8 (128, 128)."""
    return [without_islands(load_parser().parse(to_tensor(crop))[0].numpy()) for crop in crops]


def artefacts(subjects: list[Subject], inversion: Inversion, parts: Sequence[PartMap] = ()) -> list[Artefacts]:
    """Splits the inversion of a batch into the artefacts of each subject. parts: the label map of each, if
    it is to be saved.
    """
    generated = to_uint8(inversion.generated)
    composite = to_uint8(inversion.composite)
    mask = inversion.mask[:, 0].float().cpu().numpy()
    w_plus = inversion.w_plus.float().cpu().numpy()
    pivots = None if inversion.pivot is None else inversion.pivot.float().cpu().numpy()
    fields = saved_alignments(inversion)
    return [
        Artefacts(
            subject=subject,
            w_plus=w_plus[i],
            flows={
                **{key: value[i] for key, value in fields.items()},
                "mask": mask[i].astype(np.float16),
                **({PARTS_KEY: parts[i]} if parts else {}),
            },
            mask=np.rint(mask[i] * 255).astype(np.uint8),
            generated=generated[i],
            composite=composite[i],
            pivot=None if pivots is None else pivots[i],
        )
        for i, subject in enumerate(subjects)
    ]


T = TypeVar("T")
R = TypeVar("R")


def in_halves(faces: list[T], compute: Callable[[list[T]], list[R]], device: torch.device, size: int) -> list[R]:
    """Computes the results of a batch, by halves, recursively, if memory is insufficient.

    size: the model's, for the error.

    Raises:
        OodinvError: memory is insufficient for one face.
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
    """Computes the results of a batch; None if memory is insufficient, after freeing the batch's own."""
    try:
        return compute(faces)
    except RuntimeError as error:  # PyTorch has no exception class for it on the CPU
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
    return None

"""The graphs that a model is made of, for backends and for `oodinv export`."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from oodinv.backends.base import Graph
from oodinv.models.encoders.base import Encoder
from oodinv.models.generators.base import Generator, map_latents, photo_noise
from oodinv.models.ops import composite, final_mask, resize
from oodinv.models.samm import Alignment, AlignmentSource, Predicted, Reused, Samm
from oodinv.models.synthesis import synthesize_aligned

StoredNoise = Literal["fixed", "zero"]
"""Noise that is part of a graph; random noise is not."""


class _Encode(nn.Module):
    def __init__(self, encoder: Encoder, generator: Generator, keys: list[int]) -> None:
        super().__init__()
        self.encoder, self.generator, self.keys = encoder, generator, keys

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.encoder.encode(image, self.generator)
        features = (found.features[key] for key in self.keys)
        return found.w_plus, *features, *(found.noise[key] for key in self.encoder.noise_channels)


class _Generate(nn.Module):
    """Sources of alignments are SAMM with features, or alignments themselves, one tensor or two for each key.

    noisy: blocks that take noise of photos, whose tensors come last.
    """

    def __init__(
        self, generator: Generator, samm: Samm | None, keys: list[int], noise: StoredNoise, noisy: Mapping[int, int]
    ) -> None:
        super().__init__()
        self.generator, self.samm, self.keys, self.noise, self.noisy = generator, samm, keys, noise, noisy

    def forward(self, w_plus: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        last = len(tensors) - len(self.noisy)
        found, noise = tensors[:last], photo_noise(self.noise, dict(zip(self.noisy, tensors[last:], strict=True)))
        source: AlignmentSource | None = None
        if self.samm is not None:
            source = Predicted(self.samm, dict(zip(self.keys, found, strict=True)))
        elif self.keys:
            pairs = zip(self.keys, found[::2], found[1::2], strict=True)
            source = Reused({key: Alignment(flow, mask) for key, flow, mask in pairs})
        picture, alignments = synthesize_aligned(self.generator, w_plus, source, noise)
        return (picture,) if self.samm is None else (picture, *_flat(alignments))


class _Invert(nn.Module):
    def __init__(self, encoder: Encoder, generator: Generator, samm: Samm | None, noise: StoredNoise) -> None:
        super().__init__()
        self.encoder, self.generator, self.samm, self.noise = encoder, generator, samm, noise

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self.encoder.encode(image, self.generator)
        source = None if self.samm is None else Predicted(self.samm, found.features)
        noise = photo_noise(self.noise, found.noise)
        picture, alignments = synthesize_aligned(self.generator, found.w_plus, source, noise)
        if not alignments:
            return found.w_plus, picture
        mask = final_mask({key: alignment.mask for key, alignment in alignments.items()}, self.generator.size)
        return found.w_plus, picture, composite(image, picture, mask), mask, *_flat(alignments)


def _flat(alignments: dict[int, Alignment]) -> list[Tensor]:
    return [tensor for key in sorted(alignments) for tensor in (alignments[key].flow, alignments[key].mask)]


def _alignment_names(keys: list[int]) -> list[str]:
    return [f"{what}_{key}" for key in keys for what in ("flow", "mask")]


def _image(generator: Generator, batch: int) -> Tensor:
    """Smooth noise."""
    coarse = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return resize(coarse, generator.size).clamp(-1, 1)


def _codes(generator: Generator, batch: int) -> Tensor:
    """One random latent, as the mapping network gives it, for all rows."""
    z = torch.randn(batch, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        w = map_latents(generator, z, 0.7) if generator.has_mapping else generator.w_avg.expand(batch, -1)
    return w[:, None].repeat(1, generator.num_ws, 1)


def _offsets(generator: Generator, noisy: Mapping[int, int], batch: int) -> dict[str, Tensor]:
    """Random noise of photos."""
    rng = torch.Generator().manual_seed(1)
    sides = {key: generator.taps[key].resolution for key in noisy}
    return {f"noise_{key}": torch.randn(batch, noisy[key], side, side, generator=rng) for key, side in sides.items()}


def tap_keys(encoder: Encoder, samm: Samm | None) -> list[int]:
    """Keys of the feature maps that SAMM needs."""
    return [] if samm is None else sorted(key for key in samm.sizes if key in encoder.tap_channels)


def encoder_graph(encoder: Encoder, generator: Generator, samm: Samm | None, batch: int = 1) -> Graph:
    """Maps an image to w_plus, the feature maps that SAMM needs, and noise."""
    keys = tap_keys(encoder, samm)
    names = ("w_plus", *(f"features_{key}" for key in keys), *(f"noise_{key}" for key in encoder.noise_channels))
    return Graph("encoder", _Encode(encoder, generator, keys), {"image": _image(generator, batch)}, names)


def generator_graph(generator: Generator, noise: StoredNoise, noisy: Mapping[int, int], batch: int = 1) -> Graph:
    """Maps w_plus and noise of photos to the generated picture, without alignment.

    noisy: number of channels of photos' noise, by the keys of the blocks that take it.
    """
    inputs = {"w_plus": _codes(generator, batch)} | _offsets(generator, noisy, batch)
    return Graph("generator", _Generate(generator, None, [], noise, noisy), inputs, ("generated",))


def aligned_graph(
    encoder: Encoder, generator: Generator, samm: Samm, noise: StoredNoise, noisy: Mapping[int, int], batch: int = 1
) -> Graph:
    """Maps w_plus, feature maps, and noise of photos to the generated picture, and flow and mask of each size.

    noisy: number of channels of photos' noise, by the keys of the blocks that take it.
    """
    keys = tap_keys(encoder, samm)
    with torch.no_grad():
        features = encoder.encode(_image(generator, batch), generator).features
    inputs = {"w_plus": _codes(generator, batch)} | {f"features_{key}": features[key].clone() for key in keys}
    network = _Generate(generator, samm, keys, noise, noisy)
    names = ("generated", *_alignment_names(keys))
    return Graph("generator-samm", network, inputs | _offsets(generator, noisy, batch), names)


def reusing_graph(
    generator: Generator, keys: list[int], noise: StoredNoise, noisy: Mapping[int, int], batch: int = 1
) -> Graph:
    """Maps w_plus, flow and mask of each size, and noise of photos to the generated picture.

    noisy: number of channels of photos' noise, by the keys of the blocks that take it.
    """
    inputs = {"w_plus": _codes(generator, batch)}
    for key in keys:
        side = generator.taps[key].resolution
        inputs |= {f"flow_{key}": torch.zeros(batch, 2, side, side), f"mask_{key}": torch.zeros(batch, 1, side, side)}
    inputs |= _offsets(generator, noisy, batch)
    return Graph("generator-reusing", _Generate(generator, None, keys, noise, noisy), inputs, ("generated",))


def pipeline_graph(
    encoder: Encoder, generator: Generator, samm: Samm | None, noise: StoredNoise, batch: int = 1
) -> Graph:
    """image → w_plus and generated; with SAMM also composite, mask, and flow and mask of each size."""
    names = ["w_plus", "generated"]
    if samm is not None:
        names += ["composite", "mask", *_alignment_names(tap_keys(encoder, samm))]
    network = _Invert(encoder, generator, samm, noise)
    return Graph("pipeline", network, {"image": _image(generator, batch)}, tuple(names))

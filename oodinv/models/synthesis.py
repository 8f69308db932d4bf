"""Runs a generator block by block, with its features aligned or as they are."""

from torch import Tensor

from oodinv.models.generators.stylegan2 import Generator, Noise, block_latents, finish_block
from oodinv.models.samm import Alignment, AlignmentSource, align_at


def synthesize(generator: Generator, w_plus: Tensor, noise: Noise = "fixed") -> Tensor:
    """Runs the generator. w_plus (B, num_ws, w_dim) → image (B, 3, size, size), about [−1, 1], float32.

    The features have the dtype of `w_plus`; colour is summed in float32.
    """
    return synthesize_aligned(generator, w_plus, None, noise)[0]


def synthesize_aligned(
    generator: Generator, w_plus: Tensor, source: AlignmentSource | None, noise: Noise = "fixed"
) -> tuple[Tensor, dict[int, Alignment]]:
    """Runs the generator with its features aligned in the upsampling half of each block; without a source, as they are.

    w_plus (B, num_ws, w_dim) → image (B, 3, H, W) in about [−1, 1] and the alignment at each size.
    """
    x = generator.start(w_plus.shape[0], w_plus.dtype)
    rgb: Tensor | None = None
    alignments: dict[int, Alignment] = {}
    coarser: Alignment | None = None
    for index, size in enumerate(generator.sizes):
        block, latents = generator.block(size), block_latents(w_plus, index)
        if block.up is not None and latents.up is not None:
            x = block.up.convolve(x, latents.up)
            found = None if source is None else align_at(source, x, size, coarser)
            if found is not None:
                x, coarser = found
                alignments[size] = coarser
            x = block.up.finish(x, noise)
        x, rgb = finish_block(block, x, rgb, latents, noise)
    assert rgb is not None
    return rgb, alignments

"""Runs generators of every family block by block, with their features aligned or as they are."""

from torch import Tensor

from oodinv.models.generators.base import Generator, Noise
from oodinv.models.samm import Alignment, AlignmentSource, acts_at, align_at


def synthesize(generator: Generator, w_plus: Tensor, noise: Noise = "fixed") -> Tensor:
    """Runs the generator. w_plus (B, num_ws, w_dim) → image (B, 3, size, size), about [−1, 1], float32.

    The features have the dtype of `w_plus`; the picture is computed in float32.
    """
    return synthesize_aligned(generator, w_plus, None, noise)[0]


def synthesize_aligned(
    generator: Generator, w_plus: Tensor, source: AlignmentSource | None, noise: Noise = "fixed"
) -> tuple[Tensor, dict[int, Alignment]]:
    """Runs the generator with its features aligned between the two halves of each block; without a source, as they are.

    w_plus (B, num_ws, w_dim) → image (B, 3, H, W) in about [−1, 1] and the alignment at each key.
    """
    features = generator.start(w_plus, noise)
    alignments: dict[int, Alignment] = {}
    coarser: Alignment | None = None
    *_, last = generator.taps
    for key in generator.taps:
        if source is None or not acts_at(source, key):
            if key == last:
                return generator.conclude(features, w_plus, key, noise), alignments
            features = generator.run(features, w_plus, key, noise)
            continue
        x, coarser = align_at(source, generator.advance(features, w_plus, key), key, coarser)
        alignments[key] = coarser
        features = generator.finish(x, features, w_plus, key, noise)
    return generator.image(features, w_plus), alignments


def features_after(generator: Generator, w_plus: Tensor, key: int, noise: Noise = "fixed") -> Tensor:
    """Feature maps (B, C, S, S) that the block `key` ends with; later blocks are not computed.

    Raises:
        ValueError: the generator has no such block.
    """
    if key not in generator.taps:
        raise ValueError(f"the generator has blocks {sorted(generator.taps)}, none is {key}")
    features = generator.start(w_plus, noise)
    for block in generator.taps:
        features = generator.run(features, w_plus, block, noise)
        if block == key:
            break
    return features[0]

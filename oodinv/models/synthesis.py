"""Runs generators of every family block by block, with their features aligned or as they are."""

from torch import Tensor

from oodinv.models.generators.base import Generator, Noise, PhotoNoise
from oodinv.models.preview import PreviewHead
from oodinv.models.samm import Alignment, AlignmentSource, acts_at, align_at


def synthesize(
    generator: Generator, w_plus: Tensor, noise: Noise | PhotoNoise = "fixed", *, head: PreviewHead | None = None
) -> Tensor:
    """Runs the generator. w_plus (B, num_ws, w_dim) → image (B, 3, size, size), about [−1, 1], float32.

    The features have the dtype of `w_plus`; the picture is computed in float32. With a preview head the generator ends
    at the head's block, with a picture of twice that block's side.
    """
    return synthesize_aligned(generator, w_plus, None, noise, head=head)[0]


def synthesize_aligned(
    generator: Generator,
    w_plus: Tensor,
    source: AlignmentSource | None,
    noise: Noise | PhotoNoise = "fixed",
    *,
    head: PreviewHead | None = None,
) -> tuple[Tensor, dict[int, Alignment]]:
    """Runs the generator with its features aligned between the two halves of each block; without a source, as they are.

    w_plus (B, num_ws, w_dim) → image (B, 3, H, W) in about [−1, 1] and the alignment at each key. head: as for
    `synthesize`.

    Raises:
        ValueError: the generator has no block of the head's key.
    """
    if head is not None and head.key not in generator.taps:
        raise ValueError(f"the generator has blocks {sorted(generator.taps)}, none is {head.key}")
    noise, offsets = noise if isinstance(noise, PhotoNoise) else (noise, dict[int, Tensor]())
    features = generator.start(w_plus, noise)
    alignments: dict[int, Alignment] = {}
    coarser: Alignment | None = None
    *_, last = generator.taps
    for key in generator.taps:
        ends = head is not None and key == head.key
        aligns = source is not None and acts_at(source, key)
        if not (ends or aligns or key in offsets):
            if key == last:
                return generator.conclude(features, w_plus, key, noise), alignments
            features = generator.run(features, w_plus, key, noise)
            continue
        x = generator.advance(features, w_plus, key)
        if source is not None and aligns:
            x, coarser = align_at(source, x, key, coarser)
            alignments[key] = coarser
        if key in offsets:
            x = x + offsets[key].to(x.dtype)
        if head is not None and ends:
            return head(x, w_plus), alignments
        features = generator.finish(x, features, w_plus, key, noise)
    return generator.image(features, w_plus), alignments

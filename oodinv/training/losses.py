"""Losses as pure functions of tensors; each returns a scalar.

Source: "Out-of-domain GAN inversion via invertibility decomposition" (Yang et al., ICCV 2023).
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.perceptors.lpips import Lpips, perceptual_size

VGG19_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
"""Weights of conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4."""


def lpips_each(network: Lpips, a: Tensor, b: Tensor) -> Tensor:
    """LPIPS of image pairs (B, 3, S, S) in [−1, 1] → (B,); small images are enlarged first."""
    return network(perceptual_size(a), perceptual_size(b))  # type: ignore[no-any-return]


def generator_adversarial(fake_logits: Tensor) -> Tensor:
    """Non-saturating loss of the generator, mean softplus(−D(fake)). (B,) → scalar."""
    return F.softplus(-fake_logits).mean()


def discriminator_adversarial(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator, softplus(−D(real)) + softplus(D(fake)). (B,), (B,) → scalar."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """½ · mean ‖∇ₓ D(x)‖² on real images (B, 3, S, S), or latents (B, w_dim) → scalar, to be weighted by γ.

    Source: "Which training methods for GANs do actually converge?" (Mescheder et al. 2018).
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean() / 2


def mean_on(values: Tensor, where: Tensor) -> Tensor:
    """Means of values (B, 1, S, S) over the pixels of each image that are chosen, (N,): of those that have any; else 0.

    where: bool (B, 1, S, S).
    """
    counts = where.sum(dim=(1, 2, 3))
    means = (values * where).sum(dim=(1, 2, 3)) / counts.clamp_min(1)
    return means[counts > 0] if bool((counts > 0).any()) else values.new_zeros(1)


def mask_binary(masks: Mapping[int | str, Tensor]) -> Tensor:
    """Σ_s mean(min(m_s, 1 − m_s)): pulls masks to 0 or 1. {s: (B, 1, s, s)} → scalar."""
    return torch.stack([torch.minimum(m, 1 - m).mean() for m in masks.values()]).sum()


def mask_area(
    masks: Mapping[int | str, Tensor],
    limits: Mapping[int | str, float],
    where: Tensor | None = None,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Tensor:
    """Σ_s max(0, mean(m_s) − A_s): penalises masks that copy more than a fraction A_s.

    {s: (B, 1, s, s)}. where (B, 1, S, S) in [0, 1]: occluders pasted on the photos, which the means leave out. mean:
    mean over the batch, or over all parts of a batch that several processes share.
    """
    charges = []
    for key, m in masks.items():
        free = torch.ones_like(m) if where is None else 1 - F.adaptive_avg_pool2d(where, m.shape[-1])
        charges.append(F.relu(mean(m * free) / mean(free).clamp_min(1e-6) - limits[key]))
    return torch.stack(charges).sum()


def uncovered(mask: Tensor, where: Tensor) -> Tensor:
    """Penalises masks that don't keep pasted occluders, which are out of domain by construction. → scalar.

    1 − mask, averaged over the occluders of each photo, then over the photos that have one; 0 if none has. mask
    (B, 1, S, S): 1 = out of domain. `where` (B, 1, S, S) in [0, 1]: coverage by occluders.
    """
    areas = where.sum(dim=(1, 2, 3))
    missed = ((1 - mask) * where).sum(dim=(1, 2, 3)) / areas.clamp_min(1e-6)
    return missed.sum() / (areas > 0).sum().clamp_min(1)


def perceptual(a: Sequence[Tensor], b: Sequence[Tensor], weights: Sequence[float] = VGG19_WEIGHTS) -> Tensor:
    """Σ_l w_l · mean|φ_l(a) − φ_l(b)| over taps (B, C, H, W) before ReLU → scalar.

    Source: "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (Johnson et al., ECCV 2016).
    """
    terms = [w * (x.float() - y.float()).abs().mean() for w, x, y in zip(weights, a, b, strict=True)]
    return torch.stack(terms).sum()


def gram(x: Tensor) -> Tensor:
    """Products of channels averaged over space, φ·φᵀ / (C·H·W). (B, C, H, W) → (B, C, C) in float32."""
    flat = x.float().flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style(a: Sequence[Tensor], b: Sequence[Tensor], weights: Sequence[float] = VGG19_WEIGHTS) -> Tensor:
    """Applies `perceptual` to the taps' Gram matrices → scalar."""
    return perceptual([gram(x) for x in a], [gram(y) for y in b], weights)


def identity(a: Tensor, b: Tensor) -> Tensor:
    """mean(1 − cosine) between embeddings (B, D) of any length → scalar in [0, 2]."""
    return (1 - F.cosine_similarity(a.float(), b.float(), dim=1)).mean()


def offset_norm(w_plus: Tensor) -> Tensor:
    """Σ_{n ≥ 1} ‖w_n − w_0‖, averaged over the batch: penalises offsets between rows of w_plus.

    w_plus (B, num_ws, w_dim) → scalar. Source: "Designing an
    Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021), equation 5.
    """
    offsets = w_plus[:, 1:] - w_plus[:, :1]
    squares = offsets.square().sum(dim=2)
    lengths = torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)  # the root has no derivative at 0
    return lengths.sum(dim=1).mean()


def path_lengths(images: Tensor, w_plus: Tensor, noise: Tensor) -> Tensor:
    """‖J_wᵀ y‖ for y = noise / √(H·W), the root of its mean over rows of w_plus → (B,).

    images (B, 3, H, W) made from w_plus (B, num_ws, w_dim); noise (B, 3, H, W), standard normal. Source:
    "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020), section 3.2.
    """
    height, width = images.shape[-2:]
    product = (images * noise).sum() / math.sqrt(height * width)
    (gradient,) = torch.autograd.grad(product, w_plus, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, mean: Tensor) -> Tensor:
    """mean (‖J_wᵀ y‖ − a)², a being the running mean of the lengths. (B,), () → scalar."""
    return (lengths - mean).square().mean()

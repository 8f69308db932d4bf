"""Losses as pure functions of tensors; each returns a scalar."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.perceptual import Lpips
from oodinv.ops import resize

PERCEPTUAL_SIZE = 128
"""LPIPS sees smaller images enlarged to this size (px): AlexNet's first layer has stride 4."""


def perceptual_size(image: Tensor) -> Tensor:
    """Enlarges images below `PERCEPTUAL_SIZE` bilinearly. (B, 3, S, S) → (B, 3, max(S, 128), …)."""
    return resize(image, PERCEPTUAL_SIZE) if image.shape[-1] < PERCEPTUAL_SIZE else image


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
    """½ · mean ‖∇ₓ D(x)‖² on real images (B, 3, S, S) → scalar, to be weighted by γ.

    Source: "Which training methods for GANs do actually converge?" (Mescheder et al. 2018).
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def mask_binary(masks: Mapping[int | str, Tensor]) -> Tensor:
    """Σ_s mean(min(m_s, 1 − m_s)): pulls masks to 0 or 1 (METHOD §4). {s: (B, 1, s, s)} → scalar."""
    return torch.stack([torch.minimum(m, 1 - m).mean() for m in masks.values()]).sum()


def mask_area(masks: Mapping[int | str, Tensor], limits: Mapping[int | str, float]) -> Tensor:
    """Σ_s max(0, mean(m_s) − A_s): charges masks that copy more than a share A_s (METHOD §4)."""
    return torch.stack([F.relu(m.mean() - limits[key]) for key, m in masks.items()]).sum()


def psnr_each(a: Tensor, b: Tensor) -> Tensor:
    """10 · log₁₀(4 / mse) in dB for pairs (B, 3, S, S) in [−1, 1] → (B,)."""
    return 10 * torch.log10(4 / (a - b).square().mean(dim=(1, 2, 3)).clamp_min(1e-10))

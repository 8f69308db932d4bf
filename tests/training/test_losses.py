"""Losses against closed forms and finite differences."""

import math

import pytest
import torch
from torch import Tensor, nn

from oodinv.metrics.pixel import psnr
from oodinv.training import losses
from oodinv.training.tasks.samm import active_sizes


def test_psnr_of_a_known_error() -> None:
    a = torch.zeros(2, 3, 8, 8)
    b = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 2.0)])
    expected = torch.tensor([10 * math.log10(4 / 0.04), 0.0])
    torch.testing.assert_close(psnr(a, b), expected.double())


def test_adversarial_losses_at_zero_and_far_out() -> None:
    zero, far = torch.zeros(4), torch.full((4,), 50.0)
    assert losses.generator_adversarial(zero).item() == pytest.approx(math.log(2))
    assert losses.discriminator_adversarial(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert losses.discriminator_adversarial(far, -far).item() == pytest.approx(0, abs=1e-6)
    assert losses.generator_adversarial(-far).item() == pytest.approx(50)


class Quadratic(nn.Module):
    """D(x) = Σ a·x², whose gradient 2·a·x is known."""

    def forward(self, x: Tensor) -> Tensor:
        return 3.0 * x.square().sum(dim=(1, 2, 3))


def test_r1_penalty_of_a_quadratic() -> None:
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = (6 * x).square().sum(dim=(1, 2, 3)).mean() / 2
    torch.testing.assert_close(losses.r1_penalty(Quadratic(), x), expected)


def test_mask_losses_equal_those_computed_by_hand() -> None:
    masks: dict[int | str, Tensor] = {
        32: torch.tensor([0.0, 1.0, 0.25, 0.75]).reshape(1, 1, 2, 2),
        "final": torch.full((1, 1, 2, 2), 0.1),
    }
    assert losses.mask_binary(masks).item() == pytest.approx(0.5 / 4 + 0.1)
    assert losses.mask_area(masks, {32: 0.3, "final": 0.2}).item() == pytest.approx(0.2)


def test_in_domain_psnr_ignores_what_the_mask_covers() -> None:
    image = torch.zeros(1, 3, 4, 4)
    generated = image.clone()
    generated[..., :2] = 2.0
    generated[..., 2:] = 0.2
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1.0
    assert psnr(generated, image, 1 - mask).item() == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize(("step", "expected"), [(0, [32]), (5, [32, 64]), (9, [32, 64, 128])])
def test_sizes_are_switched_on_one_after_another(step: int, expected: list[int]) -> None:
    assert active_sizes({32: 2, 64: 5, 128: 9}, step) == expected

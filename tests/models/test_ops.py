"""Arithmetic against straightforward references and properties."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tolerances import FLOAT32, FLOAT32_DEEP
from torch import Tensor

from oodinv.models import ops
from oodinv.models.discriminator import Discriminator, append_batch_deviation
from oodinv.models.generators.base import map_latents
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.layers import channel_plan, sizes_up_to
from oodinv.models.samm import Alignment, AlignmentBody, align_features, apply_alignment, predict
from oodinv.models.synthesis import synthesize


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def upfirdn_by_zeros(x: Tensor, gain: float) -> Tensor:
    """Zero insertion and the binomial filter, written out."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(taps, taps)[None, None] * gain
    batch, channels, height, width = x.shape
    spread = torch.zeros(batch, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = x
    padded = F.pad(spread, (2, 1, 2, 1)).reshape(-1, 1, 2 * height + 3, 2 * width + 3)
    return F.conv2d(padded, kernel).reshape(batch, channels, 2 * height, 2 * width)


def modulated_by_sample(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, up: bool) -> Tensor:
    """Equations 1 to 3 of StyleGAN2, one sample and its own weights at a time."""
    outputs = []
    for sample, s in zip(x, style, strict=True):
        w = weight / math.sqrt(weight[0].numel()) * s[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            y = F.conv_transpose2d(sample[None], w.transpose(0, 1), stride=2)
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            kernel = (torch.outer(taps, taps) * 4)[None, None].expand(len(weight), 1, 4, 4)
            outputs.append(F.conv2d(F.pad(y, (1, 1, 1, 1)), kernel, groups=len(weight)))
        else:
            outputs.append(F.conv2d(sample[None], w, padding=weight.shape[-1] // 2))
    return torch.cat(outputs)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_equals_one_convolution_a_sample(demodulate: bool, up: bool) -> None:
    x, weight, style = random(3, 5, 6, 6), random(7, 5, 3, 3, seed=1), random(3, 5, seed=2)
    found = ops.modulated_conv2d(x, weight, style, demodulate=demodulate, up=up)
    expected = modulated_by_sample(x, weight, style, demodulate, up)
    torch.testing.assert_close(found, expected, rtol=FLOAT32_DEEP, atol=FLOAT32)


def test_upsampling_equals_zero_insertion_and_filter() -> None:
    x = random(2, 3, 5, 5)
    torch.testing.assert_close(ops.upsample2(x), upfirdn_by_zeros(x, 4.0))


def test_upsampling_keeps_a_constant_inside() -> None:
    torch.testing.assert_close(ops.upsample2(torch.ones(1, 3, 8, 8))[..., 2:-2, 2:-2], torch.ones(1, 3, 12, 12))


def test_grids_and_kernels_cached_in_inference_mode_serve_training() -> None:
    with torch.inference_mode():
        ops.warp(torch.ones(1, 2, 24, 24), torch.zeros(1, 2, 24, 24))
        ops.blur(torch.ones(1, 11, 8, 8), 2, 1)
    x = torch.ones(1, 11, 24, 24, requires_grad=True)
    flow = torch.zeros(1, 2, 24, 24, requires_grad=True)
    ops.blur(ops.warp(x, flow), 2, 1).sum().backward()
    assert x.grad is not None
    assert flow.grad is not None


def test_warp_moves_by_the_flow() -> None:
    size = 65
    ramp = torch.linspace(0, 1, size).expand(1, 1, size, size)
    flow = torch.zeros(1, 2, size, size)
    still, flow[:, 0] = ops.warp(ramp, flow), 0.1
    moved = (ops.warp(ramp, flow) - still)[0, 0, 10:-10, 10:-10]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.05 * size / (size - 1)), rtol=1e-3, atol=1e-5)


def test_mask_fusion_only_lowers_and_keeps_zero_and_one() -> None:
    coarse, fine = torch.rand(1000), torch.rand(1000, generator=torch.Generator().manual_seed(1))
    fused = ops.fuse_masks(coarse, fine)
    torch.testing.assert_close(fused, coarse * (1 - coarse + fine).clamp(max=1 / coarse.clamp_min(1e-6)))
    assert ops.fuse_masks(torch.zeros(1), torch.ones(1)).item() == 0
    assert ops.fuse_masks(torch.ones(1), torch.ones(1)).item() == 1
    assert ops.fuse_masks(torch.ones(1), torch.zeros(1)).item() == 0


def test_final_mask_of_one_size_is_that_size_resized() -> None:
    mask = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(ops.final_mask({8: mask}, 16), ops.resize(mask, 16))
    with pytest.raises(ValueError, match="at least one"):
        ops.final_mask({}, 16)


def test_composite_takes_the_image_where_the_mask_is_one() -> None:
    image, generated = random(1, 3, 4, 4), random(1, 3, 4, 4, seed=1)
    assert torch.equal(ops.composite(image, generated, torch.ones(1, 1, 4, 4)), image)
    assert torch.equal(ops.composite(image, generated, torch.zeros(1, 1, 4, 4)), generated)


def test_instance_norm_in_half_precision_sums_in_single() -> None:
    x = random(1, 2, 64, 64).half() * 100 + 1000
    expected = ops.instance_norm(x.double())
    torch.testing.assert_close(ops.instance_norm(x).double(), expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_generators_of_any_size_give_pictures_of_that_size(size: int) -> None:
    channels = {s: 4 + s // 8 for s in sizes_up_to(size)}
    generator = StyleGAN2(size, channels, w_dim=12, z_dim=10, mapping_layers=3).eval()
    w = map_latents(generator, random(2, 10))
    image = synthesize(generator, w[:, None].expand(-1, generator.num_ws, -1))
    assert image.shape == (2, 3, size, size)
    assert generator.num_ws == 2 * int(math.log2(size)) - 2


def test_sizes_that_are_no_power_of_two_are_refused() -> None:
    for size in (4, 48, 100):
        with pytest.raises(ValueError, match="power-of-two"):
            sizes_up_to(size)
    assert channel_plan(1024) == {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def test_truncation_pulls_to_the_average() -> None:
    generator = StyleGAN2(8, {4: 4, 8: 4}, w_dim=6, z_dim=6, mapping_layers=1)
    generator.w_avg = random(6)
    z = random(3, 6, seed=1)
    torch.testing.assert_close(map_latents(generator, z, 0.0), generator.w_avg.expand(3, 6))
    half = (map_latents(generator, z) + generator.w_avg) / 2
    torch.testing.assert_close(map_latents(generator, z, 0.5), half)


def test_noise_is_an_argument() -> None:
    generator = StyleGAN2(8, {4: 4, 8: 4}, w_dim=6, z_dim=6, mapping_layers=1)
    for module in generator.modules():
        if hasattr(module, "noise_strength"):
            torch.nn.init.ones_(module.noise_strength)
    w_plus = random(2, generator.num_ws, 6)

    def drawn(seed: int) -> Tensor:
        return synthesize(generator, w_plus, torch.Generator().manual_seed(seed))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert torch.equal(synthesize(generator, w_plus, "fixed"), synthesize(generator, w_plus, "fixed"))
    assert not torch.equal(synthesize(generator, w_plus, "fixed"), synthesize(generator, w_plus, "zero"))


def test_batch_deviation_equals_that_computed_by_hand() -> None:
    x = torch.stack([torch.zeros(2, 3, 3), torch.full((2, 3, 3), 2.0)])
    found = append_batch_deviation(x, group=2)
    assert found.shape == (2, 3, 3, 3)
    torch.testing.assert_close(found[:, 2], torch.ones(2, 3, 3))


def test_discriminator_scores_images_and_depends_on_them() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(16, {4: 8, 8: 8, 16: 4})
    x = random(4, 3, 16, 16).requires_grad_(True)
    scores = discriminator(x)
    assert scores.shape == (4,)
    (gradient,) = torch.autograd.grad(scores.sum(), x)
    assert gradient.abs().amin(dim=(1, 2, 3)).max() > 0


def test_alignment_stays_within_its_bounds() -> None:
    torch.manual_seed(0)
    body = AlignmentBody(6)
    generated, features = random(2, 6, 16, 16), 3 * random(2, 6, 16, 16, seed=1)
    coarser = torch.rand(2, 1, 8, 8)
    for cycles in (1, 2, 3):
        _, found = align_features(body, generated, features, coarser, cycles=cycles, flow_range=0.08)
        assert found.flow.shape == (2, 2, 16, 16)
        assert found.flow.abs().max() <= 0.08 + 1e-6
        assert 0 <= found.mask.min() <= found.mask.max() <= 1


def test_alignment_with_a_mask_of_zero_changes_nothing() -> None:
    generated = random(1, 4, 8, 8)
    alignment = Alignment(flow=torch.full((1, 2, 8, 8), 0.05), mask=torch.zeros(1, 1, 8, 8))
    assert torch.equal(apply_alignment(generated, alignment), generated)


def test_each_sample_of_a_batch_is_aligned_on_its_own() -> None:
    torch.manual_seed(0)
    body = AlignmentBody(4)
    generated, features = random(3, 4, 8, 8), random(3, 4, 8, 8, seed=1)
    together, _ = align_features(body, generated, features, None, cycles=2, flow_range=0.08)
    apart = [
        align_features(body, generated[i : i + 1], features[i : i + 1], None, cycles=2, flow_range=0.08)[0]
        for i in range(3)
    ]
    np.testing.assert_allclose(together.detach(), torch.cat(apart).detach(), atol=FLOAT32)


def test_the_first_tanh_of_a_process_is_not_shared_among_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def spy(x: Tensor, tanh: Callable[[Tensor], Tensor] = torch.tanh) -> Tensor:
        sizes.append(x.numel())
        return tanh(x)

    monkeypatch.setattr(torch, "tanh", spy)
    ops._start_vector_math.cache_clear()
    features, body = random(5, 8, 16, 16), AlignmentBody(8).eval()
    with torch.inference_mode():
        found = [predict(body, features, body.see(features), 0.08) for _ in range(2)]
    assert sizes == [1, 5 * 2 * 16 * 16, 5 * 2 * 16 * 16]
    assert torch.equal(found[0].flow, found[1].flow)
    x = random(5, 2, 16, 16)
    assert torch.allclose(ops.tanh(x), (x.double().exp() - (-x.double()).exp()).float() / (2 * x.cosh()), atol=1e-6)

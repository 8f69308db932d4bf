"""Fast ways of computing against the straightforward ones that `bench/` compares their speed with."""

import edits
import face_mesh
import numpy as np
import pytest
import straightforward
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.imaging.pixels import blurred
from oodinv.inversion import inference
from oodinv.models import ops, winograd
from oodinv.models.encoders.backbones import IR_SE_50, Backbone
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Predicted, Samm
from oodinv.models.synthesis import synthesize, synthesize_aligned


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def worst(found: Tensor, expected: Tensor) -> float:
    """Largest |difference| in standard deviations of what is expected."""
    return ((found - expected).abs().max() / expected.std()).item()


def shaken(module: nn.Module) -> nn.Module:
    """The module with all its values moved, so that no weight is one and no bias zero."""
    generator = torch.Generator().manual_seed(1)
    for value in module.parameters():
        value.data += 0.2 * torch.randn(value.shape, generator=generator)
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def networks() -> tuple[StyleGAN2, Samm]:
    torch.manual_seed(0)
    generator = StyleGAN2(32, {4: 16, 8: 16, 16: 12, 32: 8}, w_dim=16, z_dim=16, mapping_layers=2)
    samm = Samm({16: 12, 32: 8}, {16: 10, 32: 6}, cycles=2, flow_range=0.08)
    shaken(generator)
    shaken(samm)
    return generator, samm


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("grad", [False, True])
def test_aligned_synthesis_equals_the_published_way(networks: tuple[StyleGAN2, Samm], batch: int, grad: bool) -> None:
    """With and without gradients, which take different ways, and alone or in a batch."""
    generator, samm = networks
    w_plus = random(batch, generator.num_ws, 16)
    features = {16: random(batch, 10, 16, 16, seed=1), 32: random(batch, 6, 32, 32, seed=2)}
    expected, aligned = straightforward.generate(generator, samm, w_plus, features)
    with torch.set_grad_enabled(grad):
        found, alignments = synthesize_aligned(generator, w_plus, Predicted(samm, features), "zero")
    assert worst(found, expected) < 1e-4
    assert all(worst(alignments[s].flow, aligned[s].flow) < 1e-4 for s in (16, 32))
    assert all(worst(alignments[s].mask, aligned[s].mask) < 1e-4 for s in (16, 32))
    assert worst(synthesize(generator, w_plus, "zero"), expected) > 1e-2  # SAMM does something here


def test_the_backbone_equals_the_published_way() -> None:
    torch.manual_seed(0)
    backbone = Backbone(3, IR_SE_50).eval().requires_grad_(False)
    image = random(1, 3, 32, 32)
    found, expected = backbone(image), straightforward.backbone_maps(backbone, image)
    assert {s: worst(found[s], x) < 1e-4 for s, x in expected.items()} == dict.fromkeys((32, 16, 8, 4, 2), True)


@pytest.mark.parametrize(("batch", "inputs", "outputs", "height", "width"), [(1, 128, 136, 36, 32), (2, 5, 7, 8, 12)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_winograd_agrees_with_a_convolution_in_double(
    batch: int, inputs: int, outputs: int, height: int, width: int, memory: torch.memory_format
) -> None:
    x = random(batch, inputs, height, width).contiguous(memory_format=memory)
    weight = random(outputs, inputs, 3, 3, seed=1).contiguous(memory_format=memory)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    single = winograd.winograd(x, winograd.transformed(weight, torch.float32))
    assert worst(single.double(), expected) < 3e-5
    half = winograd.winograd(x, winograd.transformed(weight, torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert (half.double() - expected).std() < 0.02 * expected.std()


def test_winograd_only_where_it_pays_and_no_gradient_is_wanted() -> None:
    x, weight = random(1, 128, 32, 32), random(128, 128, 3, 3)
    assert not winograd.pays(x, weight)
    with torch.no_grad():
        assert winograd.pays(x, weight)
        assert not winograd.pays(x[..., :30], weight)
        assert not winograd.pays(x[:, :64], weight[:, :64])
        assert not winograd.pays(x.half(), weight.half())
        assert not winograd.pays(x, weight.double())
        with torch.autocast("cpu", torch.float16):
            assert not winograd.pays(x, weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert winograd.conv3x3(x, weight).dtype == torch.bfloat16
            assert winograd.pays(x, weight)
    weight.requires_grad_(True)
    (gradient,) = torch.autograd.grad(winograd.conv3x3(x, weight).sum(), weight)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_of_a_batch_agrees(up: bool) -> None:
    x, weight, style = random(2, 6, 8, 8), random(4, 6, 3, 3, seed=1), random(2, 6, seed=2)
    expected = straightforward.modulated_conv(x, weight, style, up=up)
    with torch.no_grad():
        apart = ops.modulated_conv2d(x, weight, style, up=up)
    together = ops.modulated_conv2d(x, weight, style, up=up)
    assert worst(apart, expected) < 1e-5
    assert worst(together, expected) < 1e-5


@pytest.mark.parametrize("capable", [False, True])
def test_half_precision_only_with_instructions_for_it(capable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: capable)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with inference(torch.device("cpu"), torch.bfloat16):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if capable else torch.float32)


def test_half_precision_is_near_single(networks: tuple[StyleGAN2, Samm]) -> None:
    """Emulated if need be; sums, grids and masks stay in float32."""
    generator, samm = networks
    w_plus = random(1, generator.num_ws, 16)
    features = {16: random(1, 10, 16, 16, seed=1), 32: random(1, 6, 32, 32, seed=2)}
    with torch.inference_mode():
        expected, _ = synthesize_aligned(generator, w_plus, Predicted(samm, features), "zero")
        with torch.autocast("cpu", torch.bfloat16):
            found, alignments = synthesize_aligned(generator, w_plus, Predicted(samm, features), "zero")
    assert {a.mask.dtype for a in alignments.values()} == {a.flow.dtype for a in alignments.values()} == {torch.float32}
    assert found.dtype == torch.float32
    assert 0 < (found - expected).square().mean().sqrt() / expected.std() < 0.05


def test_mouth_and_yaw_are_measured_in_eye_distances_and_degrees() -> None:
    landmarks = np.zeros((468, 3))
    landmarks[[33, 133], :2] = [[1, 2], [3, 2]]
    landmarks[[362, 263], :2] = [[5, 2], [7, 2]]
    landmarks[[61, 291], :2] = [[2, 5], [5, 9]]
    landmarks[[13, 14], :2] = [[4, 6], [4, 8]]
    landmarks[263, 2] = 6  # the eye to the picture's right is as far behind the other as it is beside it
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    assert face_mesh.seen_in(landmarks) == pytest.approx((5 / 4, 2 / 4, 45))
    assert face_mesh.seen_in(3 * landmarks @ turn) == pytest.approx((5 / 4, 2 / 4, 45))


def test_fine_detail_is_what_a_blur_takes_away() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    smooth = np.rint(blurred(crop.astype(np.float32), 3)).astype(np.uint8)
    assert edits.fine_detail(smooth) < 0.01 * edits.fine_detail(crop)
    assert edits.fine_detail(crop[::-1]) == pytest.approx(edits.fine_detail(crop), rel=0.2)

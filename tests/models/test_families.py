"""Families of generators: MobileStyleGAN's arithmetic, and a family from outside the package in every part of it."""

import itertools
import math
import re
from pathlib import Path

import pytest
import tiny_family as tiny_families
import torch
import torch.nn.functional as F  # noqa: N812
from command import call_here
from torch import Tensor

from oodinv.directions.discover import map_samples, sefa
from oodinv.inversion import invert
from oodinv.models import generators
from oodinv.models.generators.base import map_latents
from oodinv.models.generators.mobilestylegan import MobileStyleGAN, idwt
from oodinv.models.samm import Predicted, Samm
from oodinv.models.synthesis import synthesize, synthesize_aligned
from oodinv.recipe.card import read_card
from oodinv.weights.build import load_generator, load_model


@pytest.fixture
def mobile() -> MobileStyleGAN:
    torch.manual_seed(0)
    made = MobileStyleGAN(32, {4: 12, 8: 8, 16: 6}, w_dim=5, z_dim=5, mapping_layers=2)
    for name, value in made.named_buffers():
        if name.endswith("noise"):
            value.normal_()
    return made.eval().requires_grad_(False)


def test_the_inverse_wavelet_transform_is_that_of_haar() -> None:
    x = torch.randn(2, 8, 3, 5)
    found = idwt(x)
    for c in range(2):
        ll, lh, hl, hh = x[:, c], x[:, 2 + 3 * c], x[:, 3 + 3 * c], x[:, 4 + 3 * c]
        torch.testing.assert_close(found[:, c, ::2, ::2], (ll + lh + hl + hh) / 2)
        torch.testing.assert_close(found[:, c, 1::2, ::2], (ll - lh + hl - hh) / 2)
        torch.testing.assert_close(found[:, c, ::2, 1::2], (ll + lh - hl - hh) / 2)
        torch.testing.assert_close(found[:, c, 1::2, 1::2], (ll - lh - hl + hh) / 2)
    torch.testing.assert_close(found.square().sum(), x.square().sum())  # it is orthogonal


def straightforward(g: MobileStyleGAN, w_plus: Tensor) -> Tensor:
    """MobileStyleGAN step by step: modulation on inputs, dense matrices for 1 × 1 convolutions, stored noise."""
    state = g.state_dict()

    def scaled(x: Tensor, w: Tensor, name: str, gain: float = 1.0) -> Tensor:
        return x * ((w @ state[f"{name}.weight"].t() + state[f"{name}.bias"]) * gain)[:, :, None, None]

    def styled(x: Tensor, w: Tensor, name: str) -> Tensor:
        inputs = x.shape[1]
        x = scaled(x, w, f"{name}.affine", 1 / math.sqrt(9 * inputs))
        if f"{name}.depthwise" in state:
            x = F.conv2d(x, state[f"{name}.depthwise"], padding=1, groups=inputs)
            x = torch.einsum("oi,bihw->bohw", state[f"{name}.weight"], x)
        else:
            x = F.conv2d(x, state[f"{name}.weight"], padding=1)
        x = x + state[f"{name}.noise"] + state[f"{name}.bias"][:, None, None]
        return torch.where(x > 0, x, 0.2 * x)

    x = styled(state["const"].expand(len(w_plus), -1, -1, -1), w_plus[:, 0], "conv1")
    for i, size in enumerate((8, 16)):
        up, conv2 = w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2]
        x = idwt(scaled(x, up, f"blocks.{size}.up"))
        x = styled(styled(x, up, f"blocks.{size}.conv1"), conv2, f"blocks.{size}.conv2")
    x = scaled(x, w_plus[:, 5], "to_image.affine", 1 / math.sqrt(x.shape[1]))
    x = torch.einsum("oi,bihw->bohw", state["to_image.weight"], x) + state["to_image.bias"][:, None, None]
    return idwt(x)


@pytest.mark.parametrize("grad", [False, True])
def test_mobilestylegan_agrees_with_the_method_written_down_step_by_step(mobile: MobileStyleGAN, grad: bool) -> None:
    w_plus = torch.randn(3, mobile.num_ws, 5)
    expected = straightforward(mobile, w_plus)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(synthesize(mobile, w_plus), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def features_after(generator: MobileStyleGAN, w_plus: torch.Tensor, key: int) -> torch.Tensor:
    """Output features of a block."""
    features = generator.start(w_plus, "fixed")
    for block in itertools.takewhile(lambda block: block <= key, generator.taps):
        features = generator.run(features, w_plus, block, "fixed")
    return features[0]


def test_each_row_moves_the_layers_that_read_it(mobile: MobileStyleGAN) -> None:
    """The first row that changes decides from which block on features change."""
    w_plus = torch.randn(1, mobile.num_ws, 5)
    before = {key: features_after(mobile, w_plus, key) for key in mobile.taps}
    for row, changed in enumerate([(8, 16), (8, 16), (8, 16), (16,), (16,), ()]):
        other = w_plus.clone()
        other[:, row] += 1
        found = tuple(k for k in mobile.taps if not torch.equal(features_after(mobile, other, k), before[k]))
        assert found == changed
        assert not torch.equal(synthesize(mobile, other), synthesize(mobile, w_plus))


def test_noise_is_stored_absent_or_random_by_seed(mobile: MobileStyleGAN) -> None:
    w_plus = torch.randn(2, mobile.num_ws, 5)
    fixed, zero = (synthesize(mobile, w_plus, noise) for noise in ("fixed", "zero"))
    random = [synthesize(mobile, w_plus, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(random[0], random[1])
    assert len({float(image.double().sum()) for image in (fixed, zero, *random)}) == 4
    each = tuple(torch.Generator().manual_seed(seed) for seed in (5, 6))
    one = (torch.Generator().manual_seed(6),)
    torch.testing.assert_close(synthesize(mobile, w_plus, each)[1:], synthesize(mobile, w_plus[1:], one))


def test_sefa_looks_at_all_layers_of_a_row(mobile: MobileStyleGAN) -> None:
    assert mobile.style_weights(1).shape == (12 + 3, 5)
    assert mobile.style_weights(2).shape == (8, 5)
    assert torch.equal(mobile.style_weights(5), mobile.to_image.affine.weight)


@pytest.mark.parametrize("width", [None, 4])
def test_samm_aligns_before_noise_bias_and_activation(mobile: MobileStyleGAN, width: int | None) -> None:
    samm = Samm({8: 8, 16: 6}, {8: 3, 16: 5}, cycles=2, flow_range=0.3, width=width).eval()
    features = {8: torch.randn(2, 3, 8, 8), 16: torch.randn(2, 5, 16, 16)}
    w_plus = torch.randn(2, mobile.num_ws, 5)
    with torch.no_grad():
        image, alignments = synthesize_aligned(mobile, w_plus, Predicted(samm, features))
        start = mobile.start(w_plus, "fixed")
        aligned, first = samm.align(mobile.advance(start, w_plus, 8), features[8], 8, None)
        again = mobile.finish(aligned, start, w_plus, 8, "fixed")
        aligned, second = samm.align(mobile.advance(again, w_plus, 16), features[16], 16, first)
        expected = mobile.image(mobile.finish(aligned, again, w_plus, 16, "fixed"), w_plus)
    torch.testing.assert_close(image, expected)
    torch.testing.assert_close(alignments[16].flow, second.flow)
    assert not torch.equal(image, synthesize(mobile, w_plus))


def test_squeezed_features_are_warped_as_the_generators_own() -> None:
    """Cycles on squeezed features give the flow that cycles on the whole features give."""
    from oodinv.models.samm import apply_alignment, predict, refine

    samm = Samm({16: 6}, {16: 5}, cycles=2, flow_range=0.3, width=4).eval()
    generated, tap = torch.randn(1, 6, 16, 16), torch.randn(1, 5, 16, 16)
    with torch.no_grad():
        _, found = samm.align(generated, tap, 16, None)
        body, squeeze = samm.bodies["16"], samm.squeeze["16"]
        seen = body.see(samm.project["16"](tap))
        first = predict(body, squeeze(generated), seen, 0.3)
        second = refine(first, predict(body, squeeze(apply_alignment(generated, first)), seen, 0.3), 0.3)
    torch.testing.assert_close(found.flow, second.flow, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.mask, second.mask, rtol=1e-4, atol=1e-5)


# A family from outside the package


@pytest.fixture
def tiny_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Registers the family and returns a card of it with an encoder and SAMM."""
    monkeypatch.setattr(generators, "GENERATORS", (*generators.GENERATORS, tiny_families.Tiny))
    return tiny_families.write_card(tmp_path)


def test_a_family_from_outside_is_inverted_with_samm(tiny_family: Path) -> None:
    model = load_model(read_card(tiny_family), tiny_family)
    found = invert(model, torch.rand(2, 3, 16, 16) * 2 - 1)
    assert found.w_plus.shape == (2, 3, 8)
    assert sorted(found.alignments) == [8, 16]
    assert 0 < float(found.mask.mean()) < 1


def test_a_family_from_outside_gives_directions(tiny_family: Path) -> None:
    generator = load_generator(str(tiny_family)).generator
    assert sefa(generator, "m", None, 2, None)[0].vector.shape == (3, 8)
    mapped = map_samples(generator, 200, 0)
    assert mapped is not None
    torch.testing.assert_close(
        mapped, map_latents(generator, torch.randn(200, 8, generator=torch.Generator().manual_seed(0)))
    )


def test_an_unknown_family_is_named_in_the_error(tiny_family: Path) -> None:
    tiny_family.write_text(tiny_family.read_text().replace("kind: tiny", "kind: tinny"))
    done = call_here("generate", "--model", tiny_family, "--seeds", "0", "-o", tiny_family.parent / "out")
    assert done.returncode == 1
    assert re.search(r"kind must be one of stylegan2, .*tiny, not 'tinny'", " ".join(done.stderr.split()))

"""Layers that work in bands of rows give what layers of whole maps give."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tolerances import FLOAT32, FLOAT32_DEEP
from torch import Tensor

from oodinv.models import bands
from oodinv.models.generators.mobilestylegan import MobileStyleGAN, idwt
from oodinv.models.samm import Alignment, Reused
from oodinv.models.synthesis import synthesize, synthesize_aligned

SIZE = 64


@pytest.fixture(params=[1, 64, 640, 2**18])
def band_values(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bands of one row, of a few rows, and of whole pictures."""
    monkeypatch.setattr(bands, "BAND_VALUES", request.param)
    return int(request.param)


@pytest.fixture
def inputs() -> Iterator[Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield torch.randn(2, 8, 16, 12)


def close(found: Tensor, expected: Tensor, tolerance: float = FLOAT32) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.usefixtures("band_values")
def test_cut_and_collected_again_a_batch_is_the_same(inputs: Tensor) -> None:
    assert torch.equal(bands.collect([bands.cut(x, 8) for x in inputs], 16), inputs)


def test_bands_hold_as_many_rows_as_fit(band_values: int, inputs: Tensor) -> None:
    rows = [len(band) for band in bands.cut(inputs[0], 8)]
    assert max(rows) == min(16, max(1, band_values // (12 * 8)))
    assert sum(rows) == 16


@pytest.mark.usefixtures("band_values")
def test_depthwise_convolution_in_bands_equals_the_whole(inputs: Tensor) -> None:
    weight = torch.randn(8, 1, 3, 3)
    found = bands.collect([bands.depthwise3x3(bands.cut(x, 8), weight, 16) for x in inputs], 16)
    close(found, F.conv2d(inputs, weight, padding=1, groups=8))


@pytest.mark.usefixtures("band_values")
def test_pointwise_convolution_in_bands_equals_the_whole(inputs: Tensor) -> None:
    weight = torch.randn(5, 8)
    found = bands.collect([bands.pointwise(bands.cut(x, 8), weight) for x in inputs], 16)
    close(found, torch.einsum("oc,bchw->bohw", weight, inputs))


@pytest.mark.usefixtures("band_values")
@pytest.mark.parametrize("noisy", [True, False])
def test_noise_bias_and_activation_leave_the_input_as_it_is(inputs: Tensor, noisy: bool) -> None:
    bias, noise, before = torch.randn(8), torch.randn(16, 12) if noisy else None, inputs.clone()
    found = bands.collect([bands.activate(bands.cut(x, 8), bias, noise, 0.2) for x in inputs], 16)
    shift = bias[:, None, None] if noise is None else bias[:, None, None] + noise
    close(found, F.leaky_relu(inputs + shift, 0.2))
    assert torch.equal(inputs, before)


@pytest.mark.usefixtures("band_values")
def test_the_inverse_wavelet_transform_in_bands_equals_the_whole(inputs: Tensor) -> None:
    factors = torch.randn(8)
    found = bands.collect([bands.idwt(bands.cut(x, 8), factors) for x in inputs], 32)
    close(found, idwt(inputs * factors[:, None, None]))


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    torch.manual_seed(3)
    generator = MobileStyleGAN(SIZE, {4: 16, 8: 16, 16: 12, 32: 8}, w_dim=8, z_dim=8, mapping_layers=1)
    for name, buffer in generator.named_buffers():
        if name.endswith("noise"):
            buffer.normal_()
    return generator.eval().requires_grad_(False)


@pytest.mark.usefixtures("band_values")
@pytest.mark.parametrize("noise", ["fixed", "zero", "random"])
@pytest.mark.parametrize("batch", [1, 3])
def test_inference_and_training_of_mobilestylegan_give_the_same_picture(
    generator: MobileStyleGAN, noise: str, batch: int
) -> None:
    w_plus = torch.randn(batch, generator.num_ws, 8)

    def source() -> str | torch.Generator:
        return torch.Generator().manual_seed(5) if noise == "random" else noise

    with torch.enable_grad():
        expected = synthesize(generator, w_plus, source())  # type: ignore[arg-type]
    with torch.no_grad():
        found = synthesize(generator, w_plus, source())  # type: ignore[arg-type]
    assert found.shape == (batch, 3, SIZE, SIZE)
    close(found / expected.std(), expected / expected.std(), FLOAT32_DEEP)


@pytest.mark.usefixtures("band_values")
@pytest.mark.parametrize("keys", [{8, 16}, {32}, {8, 16, 32}])
def test_inference_and_training_of_mobilestylegan_agree_with_alignment_in_between(
    generator: MobileStyleGAN, keys: set[int]
) -> None:
    w_plus = torch.randn(2, generator.num_ws, 8)
    source = Reused({k: Alignment(0.1 * torch.randn(2, 2, k, k), torch.rand(2, 1, k, k)) for k in keys})
    with torch.enable_grad():
        expected, _ = synthesize_aligned(generator, w_plus, source)
    with torch.no_grad():
        found, _ = synthesize_aligned(generator, w_plus, source)
    close(found / expected.std(), expected / expected.std(), FLOAT32_DEEP)


@pytest.mark.usefixtures("band_values")
def test_each_block_agrees_with_the_plain_computation(generator: MobileStyleGAN) -> None:
    w_plus = torch.randn(2, generator.num_ws, 8)
    with torch.no_grad():
        features = generator.start(w_plus, "fixed")
        for key in generator.taps:
            with torch.enable_grad():
                expected = generator.run(features, w_plus, key, "fixed")
            found = generator.run(features, w_plus, key, "fixed")
            close(found[0] / expected[0].std(), expected[0] / expected[0].std())
            features = expected

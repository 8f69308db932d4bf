"""Metrics against the published code's stored values, against reference libraries, and against closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_msssim
import torch
from golden import fill
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tolerances import FLOAT64, GOLDEN_METRIC, LIBRARY
from torch import Tensor

from oodinv.errors import WeightsError
from oodinv.metrics import pixel, structure
from oodinv.metrics.alignment import flow_magnitude, mask_area
from oodinv.metrics.frechet import frechet_distance
from oodinv.metrics.identity import Sface
from oodinv.metrics.perceptual import lpips
from oodinv.metrics.statistics import summarize
from oodinv.models.perceptors.arcface import inner_face
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.samm import Alignment
from oodinv.weights.build import load_lpips
from oodinv.weights.pull import find, pull


def pair(size: int, seed: int = 0, batch: int = 2, noise: float = 0.2) -> tuple[Tensor, Tensor]:
    """Smooth pictures and noisy copies, rounded to 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 8, 8, generator=generator) * 2 - 1
    a = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(-1, 1)
    b = (a + noise * torch.randn(a.shape, generator=generator)).clamp(-1, 1)
    return tuple(((x + 1) * 127.5).round() / 127.5 - 1 for x in (a, b))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def golden(shared: Path) -> tuple[Tensor, Tensor, dict[str, float]]:
    """The golden pair in [−1, 1] and the stored scores."""
    source = fill(shared)
    a = source.image(256, 1, 3)
    b = np.clip(a + np.float32(0.1) * source.draw("noise", a.shape), -1, 1)
    pictures = [torch.from_numpy(np.rint((x + 1) * 127.5) / 127.5 - 1).float() for x in (a, b)]
    return pictures[0], pictures[1], json.loads((shared / "golden" / "metrics.json").read_text())


def test_golden_pixel_and_structure_scores(golden: tuple[Tensor, Tensor, dict[str, float]]) -> None:
    a, b, stored = golden
    for border in (0, 2):
        inner = slice(border, 256 - border)
        x, y = a[..., inner, inner], b[..., inner, inner]
        assert pixel.psnr(x, y).item() == pytest.approx(stored[f"psnr_crop{border}"], rel=GOLDEN_METRIC)
        assert structure.ssim(x, y).item() == pytest.approx(stored[f"ssim_crop{border}"], rel=GOLDEN_METRIC)
    assert pixel.mse_unit(a, b).item() == pytest.approx(stored["mse_unit_range"], rel=GOLDEN_METRIC)
    assert pixel.mse_pm1(a, b).item() == pytest.approx(stored["mse_pm1_range"], rel=GOLDEN_METRIC)


@pytest.mark.parametrize(("backbone", "key"), [("alexnet", "lpips_alex"), ("vgg16", "lpips_vgg")])
def test_lpips_equals_the_reference_values(
    golden: tuple[Tensor, Tensor, dict[str, float]], backbone: str, key: str
) -> None:
    if find(f"lpips-{backbone}") is None:
        pytest.skip(f"needs lpips-{backbone}: oodinv weights pull lpips-{backbone}")
    a, b, stored = golden
    network = load_lpips(backbone)  # type: ignore[arg-type]
    with torch.inference_mode():
        assert lpips(network, a, b).item() == pytest.approx(stored[key], rel=GOLDEN_METRIC)
        everywhere = torch.ones_like(a[:, :1])
        assert lpips(network, a, b, everywhere).item() == pytest.approx(stored[key], rel=GOLDEN_METRIC)


@pytest.mark.parametrize("size", [64, 97])
def test_psnr_and_ssim_equal_the_libraries(size: int) -> None:
    a, b = pair(size)
    x, y = (a.double() + 1) / 2, (b.double() + 1) / 2
    similar = pytorch_msssim.ssim(x, y, data_range=1.0, size_average=False)
    assert structure.ssim(a, b).tolist() == pytest.approx(similar.tolist(), rel=LIBRARY)
    for i, (p, q) in enumerate(zip(x.numpy(), y.numpy(), strict=True)):
        assert pixel.psnr(a, b)[i].item() == pytest.approx(peak_signal_noise_ratio(p, q, data_range=1.0), rel=LIBRARY)
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        other = structural_similarity(p, q, channel_axis=0, data_range=1.0, **window)
        assert structure.ssim(a, b)[i].item() == pytest.approx(other, rel=LIBRARY)


def test_ms_ssim_equals_the_library() -> None:
    a, b = pair(192)
    x, y = (a.double() + 1) / 2, (b.double() + 1) / 2
    expected = pytorch_msssim.ms_ssim(x, y, data_range=1.0, size_average=False)
    assert structure.ms_ssim(a, b).tolist() == pytest.approx(expected.tolist(), rel=LIBRARY)


def test_ms_ssim_refuses_pictures_without_a_coarsest_window() -> None:
    a, b = pair(160)
    with pytest.raises(ValueError, match="at least 161"):
        structure.ms_ssim(a, b)


def test_the_two_range_conventions_and_the_two_peaks() -> None:
    a, b = torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5)
    assert pixel.mse_pm1(a, b).item() == 0.25
    assert pixel.mse_unit(a, b).item() == 0.0625
    assert pixel.mae_pm1(a, b).item() == 0.5
    assert pixel.psnr(a, b).item() == pytest.approx(10 * np.log10(16))
    assert (pixel.psnr(a, b) - pixel.psnr_peak_sqrt2(a, b)).item() == pytest.approx(10 * np.log10(2))


METRICS = [pixel.mse_pm1, pixel.mse_unit, pixel.mae_pm1, pixel.psnr, structure.ssim, structure.ms_ssim]


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)
def test_weights_pick_out_a_region(metric: object) -> None:
    """Errors outside the region don't count, and a constant weight counts for nothing."""
    a, b = pair(192, seed=1)
    weight = torch.zeros(2, 1, 192, 192)
    weight[..., :80] = 1
    spoiled = b.clone()
    spoiled[..., 168:] = -spoiled[..., 168:]
    assert callable(metric)
    if metric is not structure.ms_ssim:  # whose coarsest windows reach across the picture
        assert metric(a, spoiled, weight).tolist() == pytest.approx(metric(a, b, weight).tolist(), rel=FLOAT64)
    assert metric(a, spoiled).tolist() != pytest.approx(metric(a, b).tolist(), rel=1e-3)
    assert metric(a, b, torch.full_like(weight, 0.3)).tolist() == pytest.approx(metric(a, b).tolist(), rel=1e-9)


def test_weighted_lpips_leaves_out_what_lies_far_outside() -> None:
    torch.manual_seed(0)
    network = Lpips("alexnet")
    a, b = pair(256, seed=2, batch=1)
    weight = torch.zeros(1, 1, 256, 256)
    weight[..., :64] = 1
    spoiled = b.clone()
    spoiled[..., 240:] *= -1
    with torch.inference_mode():
        assert lpips(network, a, b, torch.full_like(weight, 0.5)).item() == pytest.approx(lpips(network, a, b).item())
        inside = lpips(network, a, b, weight).item()
        assert lpips(network, a, spoiled, weight).item() == pytest.approx(inside, rel=1e-5)
        assert lpips(network, a, spoiled).item() > lpips(network, a, b).item()


def test_an_empty_region_has_no_score() -> None:
    a, b = pair(32)
    assert pixel.mse_pm1(a, b, torch.zeros(2, 1, 32, 32)).isnan().all()


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_frechet_distance_of_moved_and_scaled_sets(seed: int, dims: int) -> None:
    """A shift d costs |d|²; scaling by c costs (1 − c)² tr Σ: closed forms for Gaussians whose Σ commute."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((40, dims)) @ rng.standard_normal((dims, dims))
    shift = rng.standard_normal(dims)
    assert frechet_distance(features, features + shift) == pytest.approx(shift @ shift, abs=1e-6)
    centred = features - features.mean(axis=0)
    spread = np.trace(np.atleast_2d(np.cov(centred, rowvar=False)))
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * spread, rel=1e-6)


def test_frechet_distance_needs_more_pictures_than_features() -> None:
    with pytest.raises(ValueError, match="too few"):
        frechet_distance(np.zeros((4, 4)), np.zeros((9, 4)))


def test_identity_tells_people_apart(shared: Path) -> None:
    from oodinv.imaging.decode import read_photo
    from oodinv.imaging.pixels import resize_pixels, to_tensor

    if find("sface") is None:
        pytest.skip("needs sface: oodinv weights pull sface")
    network = Sface(pull("sface"))
    photos = sorted((shared / "photos" / "aligned1024").iterdir())[:5]
    faces = torch.cat([to_tensor(resize_pixels(read_photo(path).pixels, 256)) for path in photos])
    similar = network.embed(faces) @ network.embed(faces.flip(3)).T  # mirrored: the same person, other pixels
    assert similar.diagonal().min() > 0.6
    assert similar.argmax(dim=1).tolist() == list(range(5))
    others = similar[~torch.eye(5, dtype=torch.bool)]
    assert others.mean() < 0.3


def test_a_broken_recognition_network_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sface.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"sface\.onnx"):
        Sface(tmp_path / "sface.onnx")


def test_the_inner_face_follows_the_crop_scale() -> None:
    ramp = torch.linspace(-1, 1, 256).expand(1, 3, 256, 256)
    wide, tight = inner_face(ramp, 1.0), inner_face(ramp, 0.9)
    assert wide.shape == (1, 3, 112, 112)
    assert tight[..., 0].mean() < wide[..., 0].mean()  # the same face begins nearer to a tight crop's border


def test_flow_and_mask_in_words() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    flow[:, 0], flow[:, 1] = 0.03, 0.04
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert mask_area(mask).item() == 0.5
    found = flow_magnitude({4: Alignment(flow, mask), 8: Alignment(torch.zeros(1, 2, 8, 8), mask)})
    assert found is not None
    assert found.item() == pytest.approx(0.0125)  # half of 0.05 / 2: the width is 2, and the other size stands still
    assert flow_magnitude({}) is None


def test_standard_error_and_interval_equal_reference_values() -> None:
    found = summarize([1.0, 2.0, 3.0, 4.0, None, float("inf")], seed=0)
    assert found is not None
    assert (found.mean, found.count) == (2.5, 4)
    assert found.error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    assert found.low < 2.5 < found.high
    assert summarize([1.0, 2.0, 3.0, 4.0], seed=0) == found
    assert summarize([None], seed=0) is None


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        found = summarize(rng.standard_normal(60).tolist(), seed=trial, resamples=200)
        assert found is not None
        hits += found.low <= 0 <= found.high
    assert 86 <= hits <= 100

"""The losses that look through networks, and those on latents, against closed forms and finite differences."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from oodinv.errors import MissingWeights
from oodinv.models.perceptors.arcface import Recognition, inner_face
from oodinv.models.perceptors.vgg19 import GROUPS, MEAN, Vgg19
from oodinv.recipe.train import Identity, Perceptual
from oodinv.training import losses
from oodinv.training.networks import gather
from oodinv.weights.families import build_recognition, build_vgg19
from oodinv.weights.reading.read import read
from oodinv.weights.rules import VGG19_CONVS
from oodinv.weights.translation import translate


def seeded(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_gram_matrix_of_known_features() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    expected = torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / (2 * 1 * 2)
    torch.testing.assert_close(losses.gram(x), expected)


def test_perceptual_and_style_are_weighted_means() -> None:
    a = [torch.zeros(1, 2, 4, 4) for _ in range(5)]
    b = [torch.full((1, 2, 4, 4), 2.0) for _ in range(5)]
    assert losses.perceptual(a, b).item() == pytest.approx(2 * (0.1 + 0.1 + 1 + 1 + 1))
    assert losses.style(a, b).item() == pytest.approx(3.2 * 4 / 2)


@pytest.mark.parametrize("loss", [losses.perceptual, losses.style])
def test_perceptual_gradients_against_finite_differences(loss: Callable[..., Tensor]) -> None:
    a, b = seeded(1, 2, 3, 3).requires_grad_(), seeded(1, 2, 3, 3, seed=1)
    loss([a], [b], [1.0]).backward()
    step = torch.zeros_like(a)
    step[0, 1, 2, 0] = 1e-2
    with torch.no_grad():
        slope = (loss([a + step], [b], [1.0]) - loss([a - step], [b], [1.0])) / 2e-2
    assert a.grad is not None
    assert a.grad[0, 1, 2, 0].item() == pytest.approx(slope.item(), rel=1e-2, abs=1e-4)


def test_identity_of_the_same_the_opposite_and_a_right_angle() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])
    for n, expected in enumerate((0.0, 2.0, 1.0)):
        assert losses.identity(a[n : n + 1], b[n : n + 1]).item() == pytest.approx(expected)


def test_inner_face_is_that_of_the_published_crop() -> None:
    x = seeded(1, 3, 256, 256)
    expected = nn.functional.adaptive_avg_pool2d(x[:, :, 35:223, 32:220], 112)
    assert torch.equal(inner_face(x, 1.0), expected)
    assert inner_face(seeded(1, 3, 64, 64), 1.0).shape == (1, 3, 112, 112)


def test_inner_face_of_a_tighter_crop_covers_the_same_part_of_the_photo() -> None:
    ramp = torch.linspace(-1, 1, 256).expand(1, 3, 256, 256)
    wide, tight = inner_face(ramp, 1.0), inner_face(0.85 * ramp, 0.85)
    torch.testing.assert_close(tight, wide, atol=0.02, rtol=0)
    assert (inner_face(0.85 * ramp, 1.0) - wide).abs().max() > 0.1


def test_offsets_are_charged_by_their_lengths() -> None:
    w_plus = torch.zeros(2, 3, 4, requires_grad=True)
    assert losses.offset_norm(w_plus).item() == 0
    losses.offset_norm(w_plus).backward()
    assert w_plus.grad is not None
    assert w_plus.grad.isfinite().all()
    moved = torch.zeros(1, 3, 4)
    moved[0, 1, 0], moved[0, 2] = 3.0, 1.0
    assert losses.offset_norm(moved).item() == pytest.approx(3 + 2)


def test_path_lengths_of_a_linear_generator() -> None:
    """images = A · w, so that Jᵀy = Aᵀy is known, and so is the gradient of the penalty with respect to A."""
    a = seeded(3 * 4 * 4, 5, dtype=torch.float64).requires_grad_()
    w_plus = seeded(2, 1, 5, seed=1, dtype=torch.float64).requires_grad_()
    images = (w_plus[:, 0] @ a.T).reshape(2, 3, 4, 4)
    y = seeded(2, 3, 4, 4, seed=2, dtype=torch.float64)
    lengths = losses.path_lengths(images, w_plus, y)
    expected = ((y.flatten(1) / 4) @ a).square().sum(dim=1).sqrt()
    torch.testing.assert_close(lengths, expected)
    mean = torch.tensor(0.7, dtype=torch.float64)
    (found,) = torch.autograd.grad(losses.path_length_penalty(lengths, mean), a)
    (wanted,) = torch.autograd.grad((expected - mean).square().mean(), a)
    torch.testing.assert_close(found, wanted)


def vgg_file(path: Path) -> dict[str, Tensor]:
    """A file as torchvision lays it out, with weights small enough not to blow up; the classifier is a stub."""
    widths = [3, *(c for c, n in GROUPS for _ in range(n))]
    state: dict[str, Tensor] = {}
    for place, i, o in zip(VGG19_CONVS, widths, widths[1:], strict=False):
        state[f"features.{place}.weight"] = seeded(o, i, 3, 3, seed=place) * math.sqrt(2 / (9 * i))
        state[f"features.{place}.bias"] = seeded(o, seed=place + 100) * 0.1
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    return state


def test_vgg19_reads_torchvisions_file_and_taps_before_relu(tmp_path: Path) -> None:
    state = vgg_file(tmp_path / "vgg19.pth")
    translation = translate(read(tmp_path / "vgg19.pth"))
    assert translation.layout == "vgg19"
    network = build_vgg19(translation)
    image = seeded(1, 3, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        taps = network(image)
        x = ((image + 1) / 2 - torch.tensor(MEAN)[:, None, None]) / network.deviation
        x = nn.functional.conv2d(x, state["features.0.weight"], state["features.0.bias"], padding=1).relu()
        x = nn.functional.conv2d(x, state["features.2.weight"], state["features.2.bias"], padding=1)
    assert [t.shape[1:] for t in taps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    torch.testing.assert_close(taps[0], x)
    assert (taps[0] < 0).any()


def test_arcface_reads_its_published_names(tmp_path: Path) -> None:
    """The names of the published file, made from our own by the inverse of what is documented of it."""
    torch.manual_seed(0)
    network = Recognition().eval()
    renamed: dict[str, Tensor] = {}
    unit = {"norm_in": "res_layer.0", "conv1": "res_layer.1", "prelu": "res_layer.2", "conv2": "res_layer.3"}
    unit |= {"norm_out": "res_layer.4", "gate.squeeze": "res_layer.5.fc1", "gate.excite": "res_layer.5.fc2"}
    unit |= {"shortcut.conv": "shortcut_layer.0", "shortcut.norm": "shortcut_layer.1"}
    tops = {"backbone.stem_conv": "input_layer.0", "backbone.stem_norm": "input_layer.1"}
    tops |= {"backbone.stem_prelu": "input_layer.2"}
    tops |= {"norm_map": "output_layer.0", "linear": "output_layer.3", "norm": "output_layer.4"}
    firsts = (0, 3, 7, 21)
    for key, value in network.state_dict().items():
        module, _, leaf = key.rpartition(".")
        if module in tops:
            renamed[f"{tops[module]}.{leaf}"] = value
            continue
        _, _, stage, number, inner = module.split(".", 4)
        renamed[f"body.{firsts[int(stage)] + int(number)}.{unit[inner]}.{leaf}"] = value
    torch.save(renamed, tmp_path / "model_ir_se50.pth")
    loaded = build_recognition(translate(read(tmp_path / "model_ir_se50.pth")))
    face = seeded(1, 3, 112, 112).clamp(-1, 1)
    with torch.no_grad():
        found, expected = loaded(face), network(face)
    assert torch.equal(found, expected)
    assert found.norm().item() == pytest.approx(1, abs=1e-5)


def test_a_missing_network_is_named_once_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    wanted = {"perceptual": Perceptual(weights="vgg.pth"), "identity": Identity(weights="face.pth")}
    with pytest.raises(MissingWeights, match=r"(?s)perceptual.*vgg\.pth.*--allow-missing"):
        gather("r", "refuse", crop_scale=1.0, lpips=None, perceptual=wanted["perceptual"])  # type: ignore[arg-type]
    networks = gather("r", "allow", crop_scale=1.0, lpips=None, **wanted)  # type: ignore[arg-type]
    assert (networks.vgg19, networks.recognition) == (None, None)
    assert len(networks.missing) == 2
    assert "vgg.pth" in networks.missing[0]
    assert "face.pth" in networks.missing[1]
    vgg_file(tmp_path / "vgg.pth")
    found = gather("r", "refuse", crop_scale=1.0, lpips=None, perceptual=wanted["perceptual"])  # type: ignore[arg-type]
    assert isinstance(found.vgg19, Vgg19)
    assert found.missing == ()


def test_uncovered_equals_the_mean_computed_by_hand() -> None:
    where = torch.zeros(3, 1, 4, 4)
    where[0, :, :2] = 1
    where[1, :, 3, 3] = 1
    mask = torch.full((3, 1, 4, 4), 0.25)
    mask[0, :, 0] = 1
    of_large, of_small = (4 * 0 + 4 * 0.75) / 8, 0.75
    assert losses.uncovered(mask, where).item() == pytest.approx((of_large + of_small) / 2)
    assert losses.uncovered(mask, torch.zeros_like(where)).item() == 0


def test_mask_area_charges_nothing_for_what_was_pasted() -> None:
    where = torch.zeros(2, 1, 8, 8)
    where[0, :, :4] = 1
    mask = torch.full((2, 1, 8, 8), 0.25)
    mask[0, :, :4] = 1
    half = torch.nn.functional.avg_pool2d(mask, 2)
    masks: dict[int | str, torch.Tensor] = {4: half, "final": mask}
    assert losses.mask_area(masks, {4: 0.2, "final": 0.25}, where).item() == pytest.approx(0.05)
    assert losses.mask_area(masks, {4: 0.2, "final": 0.25}).item() == pytest.approx(0.4375 - 0.2 + 0.4375 - 0.25)

"""Refinement of codes: nearer pictures, photo by photo, by way of previews or of whole pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from command import call_here

from oodinv import inversion
from oodinv.errors import WeightsError
from oodinv.models.generators.base import map_latents
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.preview import PreviewHead, head_for
from oodinv.models.synthesis import synthesize
from oodinv.refinement import Refiner, refiner_for
from oodinv.weights import build
from oodinv.weights.build import load_named
from oodinv.weights.heads import save_heads


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    """A small generator of 64 px."""
    torch.manual_seed(0)
    made = StyleGAN2(64, dict.fromkeys((4, 8, 16, 32, 64), 8), w_dim=8, z_dim=8, mapping_layers=2)
    made.w_avg.copy_(map_latents(made, torch.randn(256, 8)).mean(dim=0).detach())
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def refiner(generator: StyleGAN2) -> Refiner:
    """Of 8 steps, with random networks."""
    torch.manual_seed(1)
    lpips, recognition = Lpips("alexnet").eval(), DlibFace().eval()
    return Refiner(generator, 8, lpips.requires_grad_(False), recognition.requires_grad_(False))


def pair(generator: StyleGAN2) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of the generator, and codes to start from."""
    rng = torch.Generator().manual_seed(2)
    wanted = map_latents(generator, torch.randn(2, 8, generator=rng))[:, None].repeat(1, generator.num_ws, 1)
    return synthesize(generator, wanted), generator.w_avg.expand(2, generator.num_ws, 8)


def distance(generator: StyleGAN2, w_plus: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    return (synthesize(generator, w_plus) - image).square().mean(dim=(1, 2, 3))


def test_refined_codes_draw_the_image_better(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    refined = refiner.refine(image, start)
    assert refined.shape == start.shape
    assert not refined.requires_grad
    assert (distance(generator, refined, image) < 0.7 * distance(generator, start, image)).all()


def test_all_but_the_last_fifth_of_the_steps_end_at_the_preview_head(
    monkeypatch: pytest.MonkeyPatch, generator: StyleGAN2, refiner: Refiner
) -> None:
    image, start = pair(generator)
    head, used = head_for(generator, 32).requires_grad_(False), []

    def recorded(of: StyleGAN2, w_plus: torch.Tensor, *, head: PreviewHead | None) -> torch.Tensor:
        used.append(head)
        return synthesize(of, w_plus, head=head)

    monkeypatch.setattr("oodinv.refinement.synthesize", recorded)
    replace(refiner, steps=11, head=head).refine(image, start)
    assert used == [head] * 8 + [None] * 3


def test_a_photo_is_refined_alike_alone_and_in_a_batch(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    both = refiner.refine(image, start)
    for i in range(2):
        alone = refiner.refine(image[i : i + 1], start[i : i + 1])
        torch.testing.assert_close(alone, both[i : i + 1], rtol=0, atol=2e-3)


def test_finished_steps_are_counted(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    seen: list[int] = []
    replace(refiner, steps=6, head=head_for(generator, 32), on_step=seen.append).refine(image, start)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_codes_from_inference_mode_can_be_refined(generator: StyleGAN2, refiner: Refiner) -> None:
    with torch.inference_mode():
        image, start = pair(generator)
        refined = replace(refiner, steps=2).refine(image, start.clone())
    assert refined.isfinite().all()


def test_flat_images_give_finite_codes(generator: StyleGAN2, refiner: Refiner) -> None:
    """Features of a flat image can be zero vectors, where a length has no gradient."""
    _, start = pair(generator)
    for level in (-1.0, 0.0, 1.0):
        refined = replace(refiner, steps=3).refine(torch.full((2, 3, 64, 64), level), start)
        assert refined.isfinite().all()


@pytest.fixture
def random_networks(monkeypatch: pytest.MonkeyPatch, refiner: Refiner) -> None:
    """Random networks in place of those of the catalog."""
    monkeypatch.setattr("oodinv.refinement.load_lpips", lambda _: refiner.lpips)
    monkeypatch.setattr("oodinv.refinement.load_dlib_face", lambda: refiner.recognition)


@pytest.mark.usefixtures("random_networks")
def test_steps_come_from_the_card_unless_they_are_given(tiny_card: Path, tmp_path: Path) -> None:
    model = load_named(str(tiny_card))
    assert refiner_for(model, None) is None
    assert refiner_for(model, 0) is None
    wanted = refiner_for(model, 3)
    assert wanted is not None
    assert (wanted.steps, wanted.head) == (3, None)
    card = yaml.safe_load(tiny_card.read_text()) | {"refine": 5, "preview": {"weights": "heads.safetensors"}}
    for part in ("generator", "encoder", "samm"):
        card[part]["weights"] = str(tiny_card.parent / card[part]["weights"])
    head = head_for(model.generator, 16)
    save_heads(tmp_path / "heads.safetensors", {8: head_for(model.generator, 8), 16: head})
    (tmp_path / "refined.yaml").write_text(yaml.safe_dump(card))
    model = load_named(str(tmp_path / "refined.yaml"))
    wanted = refiner_for(model, None)
    assert wanted is not None
    assert wanted.steps == 5
    assert wanted.head is not None
    assert wanted.head.key == 16
    save_heads(tmp_path / "heads.safetensors", {16: PreviewHead(16, 12, 6, w_dim=16)})
    with pytest.raises(WeightsError, match=r"heads\.safetensors.*head at 16"):
        load_named(str(tmp_path / "refined.yaml"))


@pytest.mark.usefixtures("random_networks")
def test_invert_refines_and_its_manifest_says_so(tiny_card: Path, samples: Path, tmp_path: Path) -> None:
    photo = min(p for p in samples.iterdir() if p.suffix == ".jpg")

    def run(output: str, *options: str) -> Path:
        done = call_here("invert", photo, "-o", tmp_path / output, "--model", tiny_card, *options)
        assert done.returncode == 0, done.stderr
        return tmp_path / output

    plain, refined = run("plain"), run("refined", "--refine", "2")
    settings = [json.loads((folder / "manifest.jsonl").read_text().splitlines()[0])["settings"]["refine"]
                for folder in (plain, refined)]  # fmt: skip
    assert settings == [0, 2]
    for folder in ("generated", "latents"):
        before, after = (next((output / folder).iterdir()).read_bytes() for output in (plain, refined))
        assert before != after
    again = call_here("invert", photo, "-o", plain, "--model", tiny_card, "--refine", "2")
    assert again.returncode == 1
    assert "refine" in again.stderr


def test_an_inversion_without_steps_is_that_of_the_encoder(tiny_card: Path, refiner: Refiner) -> None:
    model = load_named(str(tiny_card))
    image = F.interpolate(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3)), size=32).clamp(-1, 1)
    plain = inversion.invert(model, image)
    unrefined = inversion.invert(model, image, refiner=replace(refiner, generator=model.generator, steps=0))
    refined = inversion.invert(model, image, refiner=replace(refiner, generator=model.generator, steps=4))
    assert torch.equal(plain.w_plus, unrefined.w_plus)
    assert (refined.generated - image).square().mean() < (plain.generated - image).square().mean()


def test_a_network_that_cannot_be_had_is_named(
    monkeypatch: pytest.MonkeyPatch, tiny_card: Path, refiner: Refiner
) -> None:
    def missing(name: str) -> Path:
        raise WeightsError(f"{name} can't be fetched")

    monkeypatch.setattr("oodinv.refinement.load_lpips", lambda _: refiner.lpips)
    monkeypatch.setattr(build, "pull", missing)
    with pytest.raises(WeightsError, match="dlib-face can't be fetched"):
        refiner_for(load_named(str(tiny_card)), 3)

"""Refinement of codes: nearer pictures, photo by photo, by way of previews or of whole pictures."""

import copy
import itertools
import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from command import call_here

from oodinv import directions, inversion
from oodinv.benchmark.ablations import EncodedBatch
from oodinv.errors import WeightsError
from oodinv.fitting.photo_loss import Perception
from oodinv.fitting.refinement import NOISE_SIZES, Refined, Refiner, refiner_for
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import PhotoNoise, map_latents
from oodinv.models.generators.mobilestylegan import MobileStyleGAN
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.ops import average_resize
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.perceptors.lpips import Lpips, perceptual_size
from oodinv.models.preview import PreviewHead, head_for
from oodinv.models.samm import Alignment, Reused
from oodinv.models.synthesis import synthesize, synthesize_aligned
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
    return Refiner(generator, 8, Perception(lpips.requires_grad_(False), recognition.requires_grad_(False)))


def pair(generator: StyleGAN2) -> tuple[torch.Tensor, Encoding]:
    """Two pictures of the generator, and an encoding to start from."""
    rng = torch.Generator().manual_seed(2)
    wanted = map_latents(generator, torch.randn(2, 8, generator=rng))[:, None].repeat(1, generator.num_ws, 1)
    return synthesize(generator, wanted), Encoding(generator.w_avg.expand(2, generator.num_ws, 8), {})


def distance(generator: StyleGAN2, refined: Refined, image: torch.Tensor) -> torch.Tensor:
    noise = PhotoNoise("fixed", refined.noise)
    drawn, _ = synthesize_aligned(generator, refined.w_plus, Reused(refined.alignments), noise)
    return (drawn - image).square().mean(dim=(1, 2, 3))


def test_refined_codes_draw_the_image_better(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    refined = refiner.refine(image, start)
    assert refined.w_plus.shape == start.w_plus.shape
    assert not refined.w_plus.requires_grad
    before = distance(generator, Refined(start.w_plus, start.w_plus, {}, {}), image)
    assert (distance(generator, refined, image) < 0.7 * before).all()


def test_the_pivot_looks_like_the_image_without_noise_and_is_near_w(
    monkeypatch: pytest.MonkeyPatch, generator: StyleGAN2, refiner: Refiner
) -> None:
    image, start = pair(generator)
    pivot = replace(refiner, steps=16).refine(image, start).pivot
    before = distance(generator, Refined(start.w_plus, start.w_plus, {}, {}), image)
    assert (distance(generator, Refined(pivot, pivot, {}, {}), image) < 0.8 * before).all()

    def from_w(codes: torch.Tensor) -> torch.Tensor:
        return (codes - codes.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2))

    monkeypatch.setattr("oodinv.fitting.refinement.PIVOT_OFFSETS", 0.0)
    assert (from_w(pivot) < from_w(replace(refiner, steps=16).refine(image, start).pivot)).all()


def test_noise_is_refined_with_the_codes(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    refined = replace(refiner, steps=16).refine(image, start)
    assert {key: maps.shape for key, maps in refined.noise.items()} == {
        key: (2, 1, key, key) for key in generator.taps if key >= NOISE_SIZES[0]
    }
    for maps in refined.noise.values():
        assert maps.abs().amax() > 0

    def perceived(offsets: dict[int, torch.Tensor]) -> torch.Tensor:
        drawn = synthesize(generator, refined.w_plus, PhotoNoise("fixed", offsets))
        return refiner.perception.lpips(perceptual_size(drawn), perceptual_size(image))

    assert (perceived(refined.noise) < perceived({})).all()


def test_whole_steps_run_with_the_alignments_that_are_kept(tiny_card: Path, refiner: Refiner) -> None:
    model = load_named(str(tiny_card))
    assert model.samm is not None
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4)).clamp(-1, 1)
    encoding = inversion.encode(model, image)
    whole = replace(refiner, generator=model.generator, steps=4, samm=model.samm)
    refined = whole.refine(image, encoding)
    assert sorted(refined.alignments) == sorted(model.samm.sizes)
    inverted = inversion.invert(model, image, refiner=whole)
    for size, alignment in refined.alignments.items():
        torch.testing.assert_close(inverted.alignments[size].flow, alignment.flow, rtol=0, atol=1e-5)
    head = head_for(model.generator, 16).requires_grad_(False)
    assert not replace(whole, head=head, previews_only=True).refine(image, encoding).alignments
    drawn, _ = synthesize_aligned(
        model.generator, refined.w_plus, Reused(refined.alignments), PhotoNoise("fixed", refined.noise)
    )
    torch.testing.assert_close(inverted.generated, drawn, rtol=0, atol=1e-4)


def test_offsets_of_noise_are_part_of_the_noise(generator: StyleGAN2) -> None:
    """In StyleGAN2, whose first convolution of a block is the upsampling one, and with MobileStyleGAN."""
    torch.manual_seed(5)
    small = MobileStyleGAN(64, dict.fromkeys((4, 8, 16, 32), 8), w_dim=8, z_dim=8, mapping_layers=2)
    offset = torch.randn(1, 1, 16, 16)
    for of, layer in ((generator, "blocks.16.up"), (small.eval().requires_grad_(False), "blocks.16.conv1")):
        w_plus = torch.randn(2, of.num_ws, 8)
        moved = synthesize(of, w_plus, PhotoNoise("fixed", {16: offset.expand(2, -1, -1, -1)}))
        layer_of = copy.deepcopy(of)
        conv = layer_of.get_submodule(layer)
        strength = getattr(conv, "noise_strength", torch.ones(()))
        conv.noise = conv.noise * strength + offset[0, 0]
        if hasattr(conv, "noise_strength"):
            conv.noise_strength = torch.nn.Parameter(torch.ones(()), requires_grad=False)
        torch.testing.assert_close(moved, synthesize(layer_of, w_plus), rtol=1e-4, atol=1e-4)
        assert (moved - synthesize(of, w_plus)).abs().max() > 1e-3


def test_the_pivot_is_found_through_the_preview_head_and_the_rest_in_whole_pictures(
    monkeypatch: pytest.MonkeyPatch, generator: StyleGAN2, refiner: Refiner
) -> None:
    image, start = pair(generator)
    head, used, kept = head_for(generator, 32).requires_grad_(False), [], []

    def recorded(
        of: StyleGAN2, w_plus: torch.Tensor, source: Reused, noise: PhotoNoise, *, head: PreviewHead | None
    ) -> tuple[torch.Tensor, dict[int, Alignment]]:
        used.append(head)
        kept.append(set(noise.offsets))
        return synthesize_aligned(of, w_plus, source, noise, head=head)

    monkeypatch.setattr("oodinv.fitting.refinement.synthesize_aligned", recorded)
    replace(refiner, steps=11, head=head).refine(image, start)
    assert used == [head] * 6 + [None] * 5
    assert kept == [set()] * 6 + [{32, 64}] * 5
    used.clear()
    kept.clear()
    replace(refiner, steps=11, head=head, previews_only=True).refine(image, start)
    assert used == [head] * 11
    assert kept == [set()] * 6 + [{32}] * 5


def test_whole_pictures_are_compared_in_more_pixels_than_previews(
    monkeypatch: pytest.MonkeyPatch, generator: StyleGAN2, refiner: Refiner
) -> None:
    image, start = pair(generator)
    head, sides = head_for(generator, 32).requires_grad_(False), []
    monkeypatch.setattr("oodinv.fitting.refinement.PREVIEW_SIZE", 16)
    monkeypatch.setattr("oodinv.fitting.refinement.WHOLE_SIZE", 32)

    def recorded(picture: torch.Tensor, size: int) -> torch.Tensor:
        sides.append(size)
        return average_resize(picture, size)

    monkeypatch.setattr("oodinv.fitting.photo_loss.average_resize", recorded)
    replace(refiner, steps=2, head=head).refine(image, start)
    assert [side for side, _ in itertools.groupby(sides)] == [16, 32]


def test_a_photo_is_refined_alike_whatever_else_is_in_the_batch(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    first = refiner.refine(image, start)
    second = refiner.refine(torch.stack([image[0], -image[1]]), start)
    torch.testing.assert_close(first.w_plus[0], second.w_plus[0], rtol=0, atol=1e-2)
    assert (first.w_plus[1] - second.w_plus[1]).abs().max() > 0.1
    for key, maps in first.noise.items():
        assert (maps[0] - second.noise[key][0]).abs().mean() < 0.1 * (maps[1] - second.noise[key][1]).abs().mean()


def test_finished_steps_are_counted(generator: StyleGAN2, refiner: Refiner) -> None:
    image, start = pair(generator)
    seen: list[int] = []
    replace(refiner, steps=6, head=head_for(generator, 32), on_step=seen.append).refine(image, start)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_codes_from_inference_mode_can_be_refined(generator: StyleGAN2, refiner: Refiner) -> None:
    with torch.inference_mode():
        image, start = pair(generator)
        refined = replace(refiner, steps=2).refine(image, replace(start, w_plus=start.w_plus.clone()))
    assert all(values.isfinite().all() for values in (refined.w_plus, *refined.noise.values()))


def test_flat_images_give_finite_codes(generator: StyleGAN2, refiner: Refiner) -> None:
    """Features of a flat image can be zero vectors, where a length has no gradient."""
    _, start = pair(generator)
    for level in (-1.0, 0.0, 1.0):
        refined = replace(refiner, steps=3).refine(torch.full((2, 3, 64, 64), level), start)
        assert all(values.isfinite().all() for values in (refined.w_plus, *refined.noise.values()))


@pytest.fixture
def random_networks(monkeypatch: pytest.MonkeyPatch, refiner: Refiner) -> None:
    """Random networks in place of those of the catalog."""
    monkeypatch.setattr("oodinv.fitting.photo_loss.load_lpips", lambda _: refiner.perception.lpips)
    monkeypatch.setattr("oodinv.fitting.photo_loss.load_dlib_face", lambda: refiner.perception.recognition)


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


@pytest.mark.usefixtures("random_networks")
def test_edits_of_refined_faces_start_from_the_pivot_without_noise(
    tiny_card: Path, samples: Path, tmp_path: Path
) -> None:
    photo = min(p for p in samples.iterdir() if p.suffix == ".jpg")
    inverted, name = tmp_path / "inverted", photo.stem
    done = call_here("invert", photo, "-o", inverted, "--model", tiny_card, "--refine", "5")
    assert done.returncode == 0, done.stderr
    unit = torch.randn(8, 16, generator=torch.Generator().manual_seed(4))
    directions.write(tmp_path / "up.safetensors", directions.Direction("up", "tiny", unit))
    (tmp_path / "up.yaml").write_text("edits: [{direction: up.safetensors, strength: 0.5}]")
    latents = inverted / f"latents/{name}.npz"
    arrays = dict(np.load(latents))
    assert set(arrays) == {"w_plus", "pivot"}

    done = call_here("edit", inverted, "-r", tmp_path / "up.yaml", "-o", tmp_path / "edited", "--model", tiny_card)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / f"edited/latents/{name}.npz") as edited:
        assert set(edited) == {"w_plus"}
        np.testing.assert_allclose(edited["w_plus"], arrays["pivot"] + 0.5 * unit.numpy(), atol=1e-5)


@pytest.mark.usefixtures("random_networks")
def test_generate_draws_the_pivot(tiny_card: Path, samples: Path, tmp_path: Path) -> None:
    photo = min(p for p in samples.iterdir() if p.suffix == ".jpg")
    done = call_here("invert", photo, "-o", tmp_path / "out", "--model", tiny_card, "--refine", "5")
    assert done.returncode == 0, done.stderr
    latents = tmp_path / f"out/latents/{photo.stem}.npz"
    drawn = call_here("generate", "--model", tiny_card, "--codes", latents, "--save", "arrays", "-o", tmp_path / "g")
    assert drawn.returncode == 0, drawn.stderr
    with np.load(latents) as arrays:
        pivot = torch.from_numpy(arrays["pivot"][None])
    expected = synthesize(load_named(str(tiny_card)).generator, pivot)
    np.testing.assert_allclose(np.load(tmp_path / "g/arrays/code0000.npy"), expected[0].detach(), atol=1e-5)


def test_an_inversion_without_steps_is_that_of_the_encoder(tiny_card: Path, refiner: Refiner) -> None:
    model = load_named(str(tiny_card))
    image = F.interpolate(torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3)), size=32).clamp(-1, 1)
    plain = inversion.invert(model, image)
    unrefined = inversion.invert(model, image, refiner=replace(refiner, generator=model.generator, steps=0))
    refined = inversion.invert(model, image, refiner=replace(refiner, generator=model.generator, steps=4))
    assert torch.equal(plain.w_plus, unrefined.w_plus)
    assert (refined.generated - image).square().mean() < (plain.generated - image).square().mean()


def test_ablations_without_refined_noise_use_the_backend(tiny_card: Path) -> None:
    model = load_named(str(tiny_card))
    image = torch.zeros(1, 3, 32, 32)
    encoding, full = inversion.encode(model, image), inversion.invert(model, image)
    runtime = mock.Mock(synthesize=mock.Mock(return_value=(full.generated, full.alignments)))
    batch = EncodedBatch(replace(model, runtime=runtime), image, encoding, full, torch.float32)
    batch.decode(batch.model, full.alignments)
    assert runtime.synthesize.call_args.args[2] == "fixed"


def test_a_network_that_cannot_be_had_is_named(
    monkeypatch: pytest.MonkeyPatch, tiny_card: Path, refiner: Refiner
) -> None:
    def missing(name: str) -> Path:
        raise WeightsError(f"{name} can't be fetched")

    monkeypatch.setattr("oodinv.fitting.photo_loss.load_lpips", lambda _: refiner.perception.lpips)
    monkeypatch.setattr(build, "pull", missing)
    with pytest.raises(WeightsError, match="dlib-face can't be fetched"):
        refiner_for(load_named(str(tiny_card)), 3)

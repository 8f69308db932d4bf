"""Preview heads and the encoder trained through them: fitted, stopped and resumed, exported, and used by `invert`."""

import itertools
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError
from training_setup import CPU, losses_of, random_faces, random_lpips, schedule

from oodinv.errors import RecipeError, UnknownLayout, WeightsError
from oodinv.inversion import decode, encode, invert
from oodinv.models.encoders.dlib_trunk import DlibTrunk
from oodinv.models.encoders.face_resnet import FaceResnetEncoder
from oodinv.models.generators.base import map_latents, whitening
from oodinv.models.generators.mobilestylegan import MobileStyleGAN
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.ops import resize
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.preview import head_for
from oodinv.models.synthesis import synthesize
from oodinv.recipe.card import read_card
from oodinv.training import loop
from oodinv.training.loop import Saved
from oodinv.training.networks import LossNetworks
from oodinv.training.previews import load_heads
from oodinv.training.setup import fixed_generator
from oodinv.training.tasks.preview_encoder import PreviewEncoderRecipe, PreviewEncoderTask
from oodinv.training.tasks.preview_heads import PreviewHeadsRecipe, PreviewHeadsTask
from oodinv.training.tasks.samm import SammTask
from oodinv.training.tasks.samm_recipe import SammRecipe
from oodinv.weights import native
from oodinv.weights.build import load_dlib_face, load_model
from oodinv.weights.heads import save_heads
from oodinv.weights.pull import find
from oodinv.weights.reading.dlib import MAGIC, read_dlib


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Card of a generator of 64 px with few channels and a mapping network."""
    folder = tmp_path_factory.mktemp("generator")
    torch.manual_seed(0)
    channels = {4: 8, 8: 8, 16: 8, 32: 8, 64: 8}
    native.save(folder / "g.safetensors", StyleGAN2(64, channels, w_dim=16, z_dim=16, mapping_layers=2))
    generator = {"kind": "stylegan2", "weights": "g.safetensors"}
    text = yaml.safe_dump({"name": "g", "size": 64, "licence": "none", "generator": generator})
    (folder / "g.yaml").write_text(text)
    return folder / "g.yaml"


def heads_recipe(card: Path, steps: int) -> PreviewHeadsRecipe:
    return PreviewHeadsRecipe.model_validate(
        {"kind": "preview_heads", "name": "heads", "generator": str(card), "keys": [16, 32], "lpips": 0.1,
         "schedule": schedule(steps).model_dump() | {"learning_rate": 0.06}}
    )  # fmt: skip


@pytest.fixture(scope="module")
def heads(card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of fitted heads."""
    folder = tmp_path_factory.mktemp("heads")
    recipe = heads_recipe(card, 40)
    once = recipe.schedule.model_copy(update={"evaluate_every": 40, "checkpoint_every": 40})
    events = list(loop.run(PreviewHeadsTask(recipe, random_lpips(), CPU), None, once, False, folder, resume=False))
    (saved,) = [event for event in events if isinstance(event, Saved) and event.step == 40]
    return saved.card


def encoder_recipe(card: Path, heads: Path, steps: int, **more: object) -> PreviewEncoderRecipe:
    return PreviewEncoderRecipe.model_validate(
        more | {"kind": "preview_encoder", "name": "encoder", "licence": "none", "generator": str(card),
         "heads": str(heads),
         "encoder": {"kind": "face_resnet", "passes": 2, "hidden": 16, "preview": 16, "noise": more != {}},
         "sample_block": 32, "loss_block": 32,
         "own_samples": 2, "earlier_passes": [0.5, 0.5], "data": {"folder": "unused", "size": 256, "aligned": True},
         "schedule": schedule(steps).model_dump() | {"batch": 2}}
    )  # fmt: skip


def encoder_task(card: Path, heads: Path, steps: int, **more: object) -> PreviewEncoderTask:
    torch.manual_seed(0)
    recipe = encoder_recipe(card, heads, steps, **more)
    loaded = load_heads(str(heads), "test")
    return PreviewEncoderTask(recipe, fixed_generator(str(card)), loaded, random_lpips(), DlibFace().eval(), CPU)


def test_a_head_starts_from_the_layers_of_its_block_where_they_fit() -> None:
    torch.manual_seed(0)
    generator = MobileStyleGAN(32, {4: 8, 8: 8, 16: 8}, w_dim=5, z_dim=5, mapping_layers=1)
    for block in (generator.block(8), generator.block(16)):
        block.conv1.noise.normal_()
        block.conv2.noise.normal_()
    head, w_plus = head_for(generator, 16), torch.randn(2, generator.num_ws, 5)
    with torch.no_grad():
        head.to_image.load_state_dict(generator.to_image.state_dict())
        torch.testing.assert_close(synthesize(generator, w_plus, head=head), synthesize(generator, w_plus))
    with pytest.raises(ValueError, match="none is 16"):
        synthesize(MobileStyleGAN(16, {4: 8, 8: 8}, w_dim=5, z_dim=5, mapping_layers=1), w_plus, head=head)


def test_fitted_heads_are_nearer_to_the_pictures_than_unfitted_ones(card: Path, heads: Path) -> None:
    generator = fixed_generator(str(card)).generator
    w = map_latents(generator, torch.randn(8, 16, generator=torch.Generator().manual_seed(1)))
    w_plus = w[:, None].repeat(1, generator.num_ws, 1)
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = synthesize(generator, w_plus).clamp(-1.2, 1.2)
        fitted, unfitted = load_heads(str(heads), "test")[32], head_for(generator, 32)
        errors = [(synthesize(generator, w_plus, head=head) - wanted).square().mean() for head in (fitted, unfitted)]
    assert errors[0] < 0.9 * errors[1]


def test_files_of_heads_are_read_back_and_others_refused(tmp_path: Path, heads: Path, card: Path) -> None:
    found = load_heads(str(heads), "test")
    save_heads(tmp_path / "again.safetensors", found)
    again = load_heads(str(tmp_path / "again.safetensors"), "test")
    assert {key: head.config() for key, head in again.items()} == {key: head.config() for key, head in found.items()}
    for key, head in found.items():
        assert all(torch.equal(v, again[key].state_dict()[k]) for k, v in head.state_dict().items())
    with pytest.raises(WeightsError, match="is not a file of preview heads"):
        load_heads(str(card.with_name("g.safetensors")), "test")


def test_shipped_heads_fit_mobilestylegan() -> None:
    found = load_heads("ffhq-mobile-heads.safetensors", "test")
    sizes = {key: (head.config()["channels"], head.row) for key, head in found.items()}
    assert sizes == {64: (512, 8), 128: (256, 10)}


def test_whitened_coordinates_have_unit_variance(card: Path) -> None:
    generator = fixed_generator(str(card)).generator
    axes = whitening(generator)
    w = map_latents(generator, torch.randn(4000, 16, generator=torch.Generator().manual_seed(7)))
    with torch.no_grad():
        whitened = torch.linalg.solve(axes.T, (w - generator.w_avg).T).T
    torch.testing.assert_close(whitened.T @ whitened / len(w), torch.eye(16), atol=0.15, rtol=0)


@pytest.mark.slow
def test_a_resumed_encoder_has_the_losses_of_an_undisturbed_one_and_is_inverted_with(
    card: Path, heads: Path, tmp_path: Path
) -> None:
    faces, settings = random_faces(256, count=8), encoder_recipe(card, heads, 4).schedule

    def events(output: str, resume: bool) -> "itertools.islice[loop.Event]":
        task = encoder_task(card, heads, 4)
        return itertools.islice(loop.run(task, faces, settings, True, tmp_path / output, resume), None)

    whole = list(events("whole", resume=False))
    list(itertools.takewhile(lambda e: not (isinstance(e, Saved) and e.step == 2), events("stopped", resume=False)))
    assert losses_of(list(events("stopped", resume=True))) == losses_of(whole)[2:]
    assert set(losses_of(whole)[0][1]) == {"lpips", "l2", "identity", "offsets", "latents", "samples"}
    saved = [event.card for event in whole if isinstance(event, Saved)][-1]
    model = load_model(read_card(saved), saved)
    assert isinstance(model.encoder, FaceResnetEncoder)
    assert model.encoder.passes == 2
    inversion = invert(model, torch.zeros(2, 3, 64, 64))
    assert inversion.w_plus.shape == (2, model.generator.num_ws, 16)
    assert inversion.w_plus.isfinite().all()


@pytest.mark.slow
def test_samm_and_the_head_for_noise_are_trained_together(card: Path, heads: Path, tmp_path: Path) -> None:
    """Both change, nothing else of the encoder does, and the exported model has both."""
    start = encoder_task(card, heads, 1, train="noise", inner=0.01).export(tmp_path / "start")
    recipe = SammRecipe.model_validate(
        {"kind": "samm", "name": "both", "model": str(start), "heads": str(heads), "noise": "fixed", "channels": 8,
         "sizes": [32], "start_steps": {32: 0}, "area": {32: 0.3}, "data": {"folder": "unused", "size": 64},
         "train_noise": {"inner": 0}, "in_domain": 1.0, "schedule": schedule(1).model_dump()}
    )  # fmt: skip
    head, model = load_heads(str(heads), "test")[32], load_model(read_card(start), start)
    task = SammTask(recipe, model, LossNetworks(random_lpips()), CPU, None, head, DlibFace().eval())
    before = {name: value.clone() for name, value in task.encoder.state_dict().items()}
    images = torch.from_numpy(random_faces(64, 2).crops[:2]).permute(0, 3, 1, 2) / 127.5 - 1
    found = [task.step(images, step, 1e-3) for step in range(3)]
    assert {"in_domain", "generated_lpips", "generated_identity", "noise"} <= found[0].keys()
    assert found[-1]["noise"] > found[0]["noise"] == 0
    changed = {name.split(".")[0] for name, value in task.encoder.state_dict().items() if (value != before[name]).any()}
    assert changed == {"noise_head"}
    task.average_encoder.load_state_dict(task.encoder.state_dict())
    saved = task.export(tmp_path / "both")
    inversion = invert(load_model(read_card(saved), saved), torch.zeros(1, 3, 64, 64))
    assert inversion.alignments.keys() == {32}
    assert inversion.noise[32].abs().max() > 0
    without = recipe.model_copy(update={"encoder_noise": 0.0})
    task = SammTask(without, model, LossNetworks(random_lpips()), CPU, None, head, DlibFace().eval())
    assert "noise" not in task.step(images, 0, 1e-3)
    plain = encoder_task(card, heads, 1).export(tmp_path / "plain")
    model = load_model(read_card(plain), plain)
    with pytest.raises(WeightsError, match="predicts no noise"):
        SammTask(recipe, model, LossNetworks(random_lpips()), CPU, None, head)


@pytest.mark.slow
def test_a_head_for_noise_is_trained_by_itself_and_inverted_with(card: Path, heads: Path, tmp_path: Path) -> None:
    """Its noise brings previews nearer to the photos and is part of inversions."""
    task = encoder_task(card, heads, 8, train="noise", inner=0.01, lpips=0.01, identity=0, soften=0)
    images = resize(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3)).clamp(-1, 1), 256)
    before = {name: value.clone() for name, value in task.encoder.state_dict().items()}
    found = [task.step(images, step, 0.003) for step in range(8)]
    assert set(found[0]) == {"lpips", "l2", "identity", "inner", "noise"}
    assert found[0]["noise"] == 0
    assert found[-1]["l2"] < found[0]["l2"]
    changed = {name.split(".")[0] for name, value in task.encoder.state_dict().items() if (value != before[name]).any()}
    assert changed == {"noise_head"}
    task.average_encoder.load_state_dict(task.encoder.state_dict())
    saved = task.export(tmp_path)
    model = load_model(read_card(saved), saved)
    crops = torch.zeros(2, 3, 64, 64)
    inversion = invert(model, crops)
    assert {key: maps.shape[1:] for key, maps in inversion.noise.items()} == {32: (8, 32, 32), 64: (8, 64, 64)}
    without = decode(model, crops, inversion.w_plus, encode(model, crops), "fixed")
    assert (without.generated - inversion.generated).abs().max() > 0.01


def test_noise_is_trained_only_where_there_is_a_head_for_it(card: Path, heads: Path) -> None:
    with pytest.raises(ValidationError, match="noise: true"):
        encoder_recipe(card, heads, 2).model_validate(encoder_recipe(card, heads, 2).model_dump() | {"train": "noise"})


def test_a_recipe_without_the_head_of_its_encoder_is_refused(card: Path, heads: Path) -> None:
    recipe = encoder_recipe(card, heads, 2).model_copy(update={"sample_block": 64})
    loaded = load_heads(str(heads), "test")
    with pytest.raises(RecipeError, match="64"):
        PreviewEncoderTask(recipe, fixed_generator(str(card)), loaded, random_lpips(), DlibFace().eval(), CPU)


# --- dlib's network


def test_dlibs_network_knows_mirrored_faces_from_others(samples: Path) -> None:
    if find("dlib-face") is None:
        pytest.skip("needs dlib-face: oodinv weights pull dlib-face")
    from oodinv.imaging.decode import read_photo
    from oodinv.imaging.pixels import resize_pixels, to_tensor
    from oodinv.models.perceptors.dlib_face import face_of

    network = load_dlib_face()
    photos = sorted(p for p in samples.iterdir() if p.suffix in (".jpg", ".png"))[:3]
    images = torch.cat([to_tensor(resize_pixels(read_photo(path).pixels, 256)) for path in photos])
    found, mirrored = network(face_of(images)), network(face_of(images.flip(3)))
    assert found.shape == (3, 128)
    same = (found - mirrored).norm(dim=1)
    other = torch.cdist(found, found)[~torch.eye(3, dtype=torch.bool)]
    assert same.max() < other.min()


def test_foreign_and_damaged_dlib_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.dat"
    path.write_bytes(b"something else")
    with pytest.raises(UnknownLayout, match=r"net\.dat"):
        read_dlib(path)
    tensor = b"\x01\x02" + b"\x01\x08" + b"\x01\x01" * 3
    path.write_bytes(MAGIC + b"\x01\x05con_4" + tensor + b"\0" * 10)
    with pytest.raises(WeightsError, match="damaged"):
        read_dlib(path)
    path.write_bytes(MAGIC + b"\x01\x05con_4" + tensor + b"\0" * 32)
    assert [(name, values.tolist()) for name, values in read_dlib(path)] == [("con", [0.0] * 8)]
    with pytest.raises(ValueError, match="not those"):
        DlibTrunk().load_layers(read_dlib(path))

"""Encoders, StyleGAN2 generators and SAMM with every loss: small runs, stopped and resumed, and their results."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_setup import CPU, joint_recipe, losses_of, random_faces, random_lpips, samm_recipe, schedule

from oodinv.errors import RecipeError
from oodinv.inversion import invert
from oodinv.models.encoders.restyle import Restyle
from oodinv.models.perceptors.arcface import Recognition
from oodinv.models.perceptors.vgg19 import Vgg19
from oodinv.recipe.card import read_card
from oodinv.recipe.train import Schedule, StepDecay
from oodinv.training import ema, loop
from oodinv.training.device import Compute
from oodinv.training.loop import Saved, Task
from oodinv.training.networks import LossNetworks
from oodinv.training.occluders import skin
from oodinv.training.offsets import limit_offsets, stage_at
from oodinv.training.setup import fixed_generator
from oodinv.training.tasks.encoder import EncoderRecipe, EncoderTask
from oodinv.training.tasks.joint import JointRecipe
from oodinv.training.tasks.samm import SammRecipe, SammTask
from oodinv.training.tasks.samm_losses import Aligned
from oodinv.training.tasks.stylegan2 import GeneratorRecipe, GeneratorTask, mix_styles
from oodinv.weights.build import load_model

SIZE = 16


def generator_recipe(steps: int) -> GeneratorRecipe:
    return GeneratorRecipe.model_validate(
        {
            "kind": "stylegan2",
            "name": "test",
            "licence": "none",
            "data": {"folder": "unused", "size": SIZE, "aligned": True},
            "schedule": schedule(steps).model_dump(),
            "channels": {4: 8, 8: 8, 16: 8},
            "w_dim": 16,
            "z_dim": 16,
            "mapping_layers": 2,
            "adversarial": {"weight": 1.0, "channels": {4: 8, 8: 8, 16: 8}, "r1_interval": 2},
            "augment": {"images": 40, "interval": 1, "start": 0.5},
            "path_length": {"interval": 2},
        }
    )


def encoder_recipe(steps: int, card: Path, **changes: object) -> EncoderRecipe:
    return EncoderRecipe.model_validate(
        {
            "kind": "encoder",
            "name": "test",
            "licence": "none",
            "generator": str(card),
            "data": {"folder": "unused", "size": 32, "aligned": True},
            "schedule": schedule(steps).model_dump(),
            "encoder": {"kind": "pyramid", "channels": {32: 4, 16: 8, 8: 8, 4: 8}, "hidden": 16},
            "offsets": {"start": 1, "every": 1},
            "latent_adversarial": {"learning_rate": 1e-3, "r1_interval": 2},
            "samples": 1.0,
            **changes,
        }
    )


def full_samm_recipe(steps: int, card: Path) -> SammRecipe:
    recipe = samm_recipe(steps, card).model_dump()
    recipe |= {"occluders": 0.5, "adversarial": {"weight": 0.5, "channels": {4: 8, 8: 8, 16: 8, 32: 8}, "r1": 0.0}}
    recipe["schedule"] |= {"accumulate": 2}
    return SammRecipe.model_validate(recipe)


Make = Callable[[], Task]


def tasks(card: Path, steps: int, compute: Compute = CPU) -> dict[str, tuple[Make, Schedule, int]]:
    made = generator_recipe(steps), encoder_recipe(steps, card), full_samm_recipe(steps, card)
    generator, encoder, samm = made

    def samm_task() -> Task:
        return SammTask(samm, load_model(read_card(card), card), LossNetworks(random_lpips()), compute)

    def encoder_task() -> Task:
        return EncoderTask(encoder, fixed_generator(str(card)), LossNetworks(random_lpips()), compute)

    return {
        "generator": (lambda: GeneratorTask(generator, compute), generator.schedule, SIZE),
        "encoder": (encoder_task, encoder.schedule, 32),
        "samm": (samm_task, samm.schedule, 32),
    }


@pytest.mark.parametrize("kind", ["generator", "encoder", "samm"])
def test_a_resumed_run_has_the_losses_of_an_undisturbed_one(kind: str, tiny_card: Path, tmp_path: Path) -> None:
    """Bit for bit on the CPU: random latents, augmentations, occluders and running means included."""
    make, settings, size = tasks(tiny_card, 5)[kind]
    faces = random_faces(size)
    whole = losses_of(list(loop.run(make(), faces, settings, True, tmp_path / "whole", resume=False)))
    stopped = loop.run(make(), faces, settings, True, tmp_path / "stopped", resume=False)
    list(itertools.takewhile(lambda e: not (isinstance(e, Saved) and e.step == 4), stopped))
    rest = losses_of(list(loop.run(make(), faces, settings, True, tmp_path / "stopped", resume=True)))
    assert rest == whole[4:]
    assert [step for step, _ in rest] == [5]


@pytest.mark.parametrize("kind", ["generator", "encoder", "samm"])
def test_every_task_trains_in_bfloat16(kind: str, tiny_card: Path, tmp_path: Path) -> None:
    make, settings, size = tasks(tiny_card, 2, Compute(torch.device("cpu"), bfloat16=True))[kind]
    found = losses_of(list(loop.run(make(), random_faces(size), settings, True, tmp_path, resume=False)))
    assert [step for step, _ in found] == [1, 2]
    assert all(math.isfinite(value) for _, losses in found for value in losses.values())


def test_a_generator_gives_a_card_that_an_encoder_makes_whole(tmp_path: Path) -> None:
    recipe = generator_recipe(2)
    events = list(loop.run(GeneratorTask(recipe, CPU), random_faces(SIZE), recipe.schedule, True, tmp_path, False))
    card = next(e.card for e in reversed(events) if isinstance(e, Saved))
    with pytest.raises(RecipeError, match="encoder"):
        read_card(card)
    plan = {"kind": "pyramid", "channels": {16: 4, 8: 8, 4: 8}, "hidden": 8}
    data = {"folder": "unused", "size": SIZE, "aligned": True}
    settings = encoder_recipe(2, card, encoder=plan, data=data)
    task = EncoderTask(settings, fixed_generator(str(card)), LossNetworks(random_lpips()), CPU)
    events = list(loop.run(task, random_faces(SIZE), settings.schedule, True, tmp_path / "encoder", False))
    whole = next(e.card for e in reversed(events) if isinstance(e, Saved))
    inversion = invert(load_model(read_card(whole), whole), torch.zeros(1, 3, SIZE, SIZE), noise="zero")
    assert inversion.composite.shape == (1, 3, SIZE, SIZE)


@pytest.mark.slow
def test_a_restyle_encoder_is_trained_and_loaded_again(tiny_card: Path, tmp_path: Path) -> None:
    """With its passes; a tiny w_dim would not fit its backbone's 512 channels, so the generator has 512 too."""
    from oodinv.models.generators.base import GeneratorCard
    from oodinv.models.generators.stylegan2 import StyleGAN2
    from oodinv.recipe.card import GeneratorOnlyCard
    from oodinv.training.setup import FixedGenerator
    from oodinv.weights import native

    torch.manual_seed(0)
    generator = StyleGAN2(8, {4: 4, 8: 4}, w_dim=512, z_dim=8, mapping_layers=1).eval().requires_grad_(False)
    native.save(tmp_path / "g.safetensors", generator)
    card = GeneratorOnlyCard(name="g", size=8, generator=GeneratorCard(weights="g.safetensors"), licence="none")
    data = {"folder": "unused", "size": 8, "aligned": True}
    recipe = encoder_recipe(
        1, tiny_card, encoder={"kind": "restyle", "passes": 2}, data=data, latent_adversarial=None, samples=0.0
    )
    fixed = FixedGenerator(card, tmp_path / "g.yaml", generator, (), tmp_path / "g.safetensors")
    task = EncoderTask(recipe, fixed, LossNetworks(), CPU)
    report = task.step(torch.zeros(1, 3, 8, 8), 0, 1e-4)
    assert set(report) == {"l2", "offsets", "stage"}
    path = task.export(tmp_path / "model")
    model = load_model(read_card(path), path)
    assert isinstance(model.encoder, Restyle)
    assert model.encoder.passes == 2
    own_state = task.average_encoder.state_dict()
    assert all(torch.equal(v, own_state[k]) for k, v in model.encoder.state_dict().items() if v.is_floating_point())


def test_encoder_training_lowers_the_error_of_known_latents(tiny_card: Path, tmp_path: Path) -> None:
    recipe = encoder_recipe(40, tiny_card, offsets=None, latent_adversarial=None)
    task = EncoderTask(recipe, fixed_generator(str(tiny_card)), LossNetworks(), CPU)
    schedule = recipe.schedule.model_copy(update={"evaluate_every": 40, "checkpoint_every": 40})
    events = loop.run(task, random_faces(32), schedule, False, tmp_path, resume=False)
    error = [losses["samples"] for _, losses in losses_of(list(events))]
    assert sum(error[-5:]) < 0.9 * sum(error[:5])


def test_offsets_open_one_row_after_another() -> None:
    offsets = encoder_recipe(1, Path("unused")).offsets
    assert [stage_at(offsets, step, 4) for step in range(5)] == [0, 1, 2, 3, 3]
    rows = torch.arange(4.0)[None, :, None]
    assert limit_offsets(rows, 1).flatten().tolist() == [0, 1, 0, 0]
    assert torch.equal(limit_offsets(rows, 3), rows)


def test_an_encoder_recipe_that_does_not_fit_its_generator_is_refused(tiny_card: Path) -> None:
    data = {"folder": "unused", "size": 64, "aligned": True}
    plan = {"kind": "pyramid", "channels": {64: 4, 32: 4, 16: 8, 8: 8, 4: 8}}
    with pytest.raises(RecipeError, match="32 px"):
        EncoderTask(
            encoder_recipe(1, tiny_card, data=data, encoder=plan), fixed_generator(str(tiny_card)), LossNetworks(), CPU
        )


def test_mixed_styles_switch_latents_at_one_row() -> None:
    first, second = torch.zeros(200, 3), torch.ones(200, 3)
    rows = mix_styles(first, second, 6, 0.9, torch.Generator().manual_seed(0))[..., 0]
    assert (rows[:, 1:] >= rows[:, :-1]).all()
    assert (rows[:, 0] == 0).all()
    assert (rows[:, -1] == 1).float().mean().item() == pytest.approx(0.9, abs=0.07)


def test_accumulated_pieces_have_the_gradient_of_the_whole(tiny_card: Path) -> None:
    base = load_model(read_card(tiny_card), tiny_card)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    gradients = []
    for accumulate in (1, 2):
        recipe = samm_recipe(1, tiny_card).model_dump() | {"area": {16: 1.0, 32: 1.0}, "final_area": 1.0}
        recipe["schedule"] |= {"accumulate": accumulate}
        task = SammTask(SammRecipe.model_validate(recipe), base, LossNetworks(random_lpips()), CPU)
        task.step(images, 5, 0.0)
        gradients.append(torch.cat([p.grad.flatten() for p in task.samm.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_samm_learns_through_every_network(tiny_card: Path) -> None:
    torch.manual_seed(0)
    vgg19, recognition = Vgg19().eval().requires_grad_(False), Recognition().eval().requires_grad_(False)
    networks = LossNetworks(random_lpips(), vgg19, recognition, missing=())
    recipe = full_samm_recipe(1, tiny_card).model_dump() | {"perceptual": {}, "identity": {}}
    task = SammTask(SammRecipe.model_validate(recipe), load_model(read_card(tiny_card), tiny_card), networks, CPU)
    found = task.step(torch.zeros(2, 3, 32, 32), 0, 1e-3)
    assert {"mse", "lpips", "perceptual", "style", "identity", "adversarial", "discriminator", "area"} <= set(found)
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
    assert len(task.evaluate([torch.zeros(2, 3, 32, 32)]).pictures) == 5


def test_a_missing_loss_is_named_in_the_log_and_the_checkpoint(tiny_card: Path, tmp_path: Path) -> None:
    recipe = samm_recipe(2, tiny_card)
    networks = LossNetworks(random_lpips(), missing=("trained without the identity loss",))
    task = SammTask(recipe, load_model(read_card(tiny_card), tiny_card), networks, CPU)
    list(loop.run(task, random_faces(32), recipe.schedule, True, tmp_path, resume=False))
    lines = [json.loads(line) for line in (tmp_path / loop.LOG).read_text().splitlines()]
    assert [line["notes"] for line in lines if "notes" in line] == [["trained without the identity loss"]]
    from oodinv.training import checkpoint

    assert checkpoint.load(tmp_path / loop.CHECKPOINT).notes == networks.missing


def test_a_crash_in_writing_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from oodinv.training import checkpoint

    path, linear = tmp_path / "checkpoint.pt", torch.nn.Linear(2, 2)
    checkpoint.save(path, 1, {"linear": linear})

    def torn(_: object, file: "object") -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, 2, {"linear": linear})
    assert checkpoint.load(path).step == 1


def test_wrong_channel_tables_are_named() -> None:
    good = joint_recipe(1, adversarial=True).model_dump()
    for key in ("generator_channels", "encoder_channels"):
        with pytest.raises(ValueError, match=key):
            JointRecipe.model_validate(good | {key: {4: 8, 8: 8}})
    with pytest.raises(ValueError, match="accumulate"):
        JointRecipe.model_validate(good | {"schedule": good["schedule"] | {"accumulate": 2}})
    adversarial = good["adversarial"] | {"channels": {4: 8}}
    with pytest.raises(ValueError, match=r"adversarial\.channels"):
        JointRecipe.model_validate(good | {"adversarial": adversarial})


def test_published_learning_rate_and_average() -> None:
    settings = Schedule(
        steps=10**6,
        batch=2,
        learning_rate=2e-5,
        decay=StepDecay(share=0.75, every=15000),
        ema_decay=0.5 ** (32 / 10000),
    )
    rates = [loop.learning_rate(settings, step) for step in (0, 14999, 15000, 30000)]
    assert rates == pytest.approx([2e-5, 2e-5, 1.5e-5, 1.125e-5])
    assert ema.decay_at(settings, 0, 2) ** (10000 / 32) == pytest.approx(0.5)


def test_the_face_beside_an_occluder_has_a_limit_of_its_own(tiny_card: Path) -> None:
    recipe = samm_recipe(1, tiny_card).model_dump()
    recipe |= {"area": {16: 1.0, 32: 1.0}, "final_area": 1.0, "face_area": 0.2}
    task = SammTask(
        SammRecipe.model_validate(recipe),
        load_model(read_card(tiny_card), tiny_card),
        LossNetworks(random_lpips()),
        CPU,
    )
    face = torch.tensor(skin(32, 1.0)).float()[None, None]
    everywhere = torch.full((1, 1, 32, 32), 0.6)

    def charged(mask: torch.Tensor, where: torch.Tensor) -> float:
        picture = torch.zeros(1, 3, 32, 32)
        return task.losses.mask_losses(Aligned(picture, {}, mask, picture, {}), where)[1].item()

    pasted = torch.zeros_like(face)
    pasted[..., 12:16, 14:20] = 1
    assert charged(everywhere, pasted) == pytest.approx(0.4)
    assert charged(torch.maximum(1 - face, pasted), pasted) == 0
    assert charged(everywhere, face) == 0
    assert charged(everywhere, torch.zeros_like(face)) == 0

"""Tuning of a generator to one photo."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command import call_here

from oodinv.editing import apply
from oodinv.editing.apply import Editor, inverted_faces
from oodinv.editing.plan import prepare
from oodinv.fitting import tuning
from oodinv.fitting.photo_loss import Perception
from oodinv.fitting.tuning import Tuner, tuner_for, with_weights
from oodinv.imaging.pixels import to_tensor
from oodinv.inversion import Inversion, invert
from oodinv.models.generators.base import Generator, map_latents
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.preview import PreviewHead, head_for
from oodinv.models.samm import Alignment, Reused
from oodinv.models.synthesis import synthesize, synthesize_aligned
from oodinv.recipe.edit import read_edit_recipe
from oodinv.weights.build import Model, load_named


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    """A small generator of 128 px."""
    torch.manual_seed(0)
    made = StyleGAN2(128, dict.fromkeys((4, 8, 16, 32, 64, 128), 8), w_dim=8, z_dim=8, mapping_layers=2)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def perception() -> Perception:
    """Random networks."""
    torch.manual_seed(1)
    return Perception(Lpips("alexnet").eval().requires_grad_(False), DlibFace().eval().requires_grad_(False))


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates for small networks, which change more in a few steps."""
    monkeypatch.setattr(tuning, "PREVIEW_RATE", 1e-2)
    monkeypatch.setattr(tuning, "WHOLE_RATE", 1e-2)


def pair(generator: StyleGAN2) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of the generator, and codes of another."""
    rng = torch.Generator().manual_seed(2)
    codes = map_latents(generator, torch.randn(2, 8, generator=rng))[:, None].repeat(1, generator.num_ws, 1)
    return synthesize(generator, codes[:1]), codes[1:]


@pytest.mark.usefixtures("faster")
def test_the_tuned_copy_draws_the_photo_better_and_the_generator_is_unchanged(
    generator: StyleGAN2, perception: Perception
) -> None:
    image, w_plus = pair(generator)
    before = synthesize(generator, w_plus)
    with torch.inference_mode():
        weights = Tuner(generator, 12, perception).tune(image, w_plus, {})
    tuned = with_weights(generator, weights)
    torch.testing.assert_close(synthesize(generator, w_plus), before, rtol=0, atol=0)
    drawn = synthesize(tuned, w_plus)
    assert (drawn - image).square().mean() < 0.7 * (before - image).square().mean()
    assert not any(weight.requires_grad for weight in tuned.parameters())


@pytest.mark.usefixtures("faster")
def test_only_convolutions_up_to_a_size_are_tuned_and_the_rest_is_shared(
    generator: StyleGAN2, perception: Perception
) -> None:
    tuned = with_weights(generator, Tuner(generator, 2, perception).tune(*pair(generator), {}))
    changed = {
        name
        for (name, one), (_, other) in zip(generator.named_parameters(), tuned.named_parameters(), strict=True)
        if one is not other
    }
    assert changed == {
        f"blocks.{size}.{conv}.{kind}"
        for size in (8, 16, 32, 64)
        for conv in ("up", "conv")
        for kind in ("weight", "bias")
    }
    own, copied = dict(generator.named_parameters()), dict(tuned.named_parameters())
    assert all(not torch.equal(own[name], copied[name]) for name in changed)


def test_previews_come_first_with_the_alignments_and_the_noise(
    monkeypatch: pytest.MonkeyPatch, generator: StyleGAN2, perception: Perception
) -> None:
    image, w_plus = pair(generator)
    head, drawn, done = head_for(generator, 64).requires_grad_(False), list[tuple[object, ...]](), list[int]()

    def recorded(
        of: Generator, codes: torch.Tensor, source: Reused, noise: str, *, head: PreviewHead | None
    ) -> tuple[torch.Tensor, dict[int, Alignment]]:
        drawn.append((head, sorted(source.alignments), noise))
        return synthesize_aligned(of, codes, source, noise, head=head)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "synthesize_aligned", recorded)
    still = {16: Alignment(torch.zeros(1, 2, 16, 16), torch.zeros(1, 1, 16, 16))}
    Tuner(generator, 5, perception, head, on_step=done.append).tune(image, w_plus, still, "zero")
    assert drawn == [(head, [16], "zero")] * 3 + [(None, [16], "zero")] * 2
    assert done == [1, 2, 3, 4, 5]


@pytest.fixture
def edited(tiny_card: Path, tmp_path: Path, perception: Perception) -> tuple[Model, Editor, list[apply.InvertedFace]]:
    """A tiny model, an editor that tunes, and two inverted faces."""
    model = load_named(str(tiny_card))
    crops = list(np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8))
    inverted: Inversion = invert(model, torch.cat([to_tensor(crop) for crop in crops]))
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump({"truncation": 0.5, "compose": {"detail": 1, "colour": 1}}))
    recipe = read_edit_recipe(path)
    tuner = Tuner(model.generator, 3, perception)
    plan = prepare(recipe, path, model, [1.0])
    editor = Editor(model, torch.device("cpu"), "float32", "fixed", 2, recipe, plan, tuner)
    return model, editor, inverted_faces(crops, inverted)


@pytest.mark.usefixtures("faster")
def test_each_face_is_edited_with_a_generator_of_its_own(
    edited: tuple[Model, Editor, list[apply.InvertedFace]],
) -> None:
    _, editor, faces = edited
    both = editor.edit(faces)
    alone = [editor.edit([face])[0] for face in faces]
    plain = replace(editor, tuner=None).edit(faces)
    for one, other, without in zip(both, alone, plain, strict=True):
        np.testing.assert_array_equal(one.unedited, other.unedited)
        assert not np.array_equal(one.unedited, without.unedited)
        crop = one.face.crop.astype(float)
        assert np.abs(one.unedited - crop).mean() < np.abs(without.unedited - crop).mean()


@pytest.mark.usefixtures("faster")
def test_tuned_weights_are_kept_in_a_file_until_something_changes(
    edited: tuple[Model, Editor, list[apply.InvertedFace]], tmp_path: Path
) -> None:
    _, editor, faces = edited
    done = list[int]()
    assert editor.tuner is not None
    editor.tuner.on_step = done.append
    file = tmp_path / "tuned/a.safetensors"
    face = replace(faces[0], tuned=file)
    (first,) = editor.edit([face])
    assert len(done) == 3
    editor.edit([faces[0]])
    assert len(done) == 3, "they are still in memory"
    editor.tuner.recent.clear()
    (again,) = editor.edit([face])
    assert len(done) == 3
    np.testing.assert_array_equal(first.results[0].composite, again.results[0].composite)
    editor.edit([replace(face, w_plus=face.w_plus + 1)])
    assert len(done) == 6
    file.write_bytes(file.read_bytes()[:50])
    editor.tuner.recent.clear()
    (last,) = editor.edit([face])
    assert len(done) == 9
    np.testing.assert_array_equal(first.results[0].composite, last.results[0].composite)
    file.unlink()
    file.parent.rmdir()
    file.parent.write_bytes(b"")
    (unkept,) = editor.edit([face])
    np.testing.assert_array_equal(first.results[0].composite, unkept.results[0].composite)


def test_the_weights_of_some_faces_are_kept_in_memory(generator: StyleGAN2, perception: Perception) -> None:
    tuner = Tuner(generator, 1, perception)
    for number in range(tuning.RECENT + 2):
        tuner.remember(str(number), {})
    assert list(tuner.recent) == [str(number) for number in range(2, tuning.RECENT + 2)]


def test_weights_of_another_generator_do_not_fit(generator: StyleGAN2) -> None:
    with pytest.raises(ValueError, match=r"has the shape \(1,\), expected"):
        with_weights(generator, {"blocks.8.up.bias": torch.zeros(1)})


def test_what_shows_nothing_of_the_generator_is_not_tuned(
    edited: tuple[Model, Editor, list[apply.InvertedFace]],
) -> None:
    _, editor, faces = edited
    assert editor.tunes
    turn = editor.recipe.model_copy(update={"compose": editor.recipe.compose.model_copy(update={"area": "pose"})})
    assert not replace(editor, recipe=turn).tunes
    nothing = replace(editor.plan, variants=[replace(editor.plan.variants[0], edit=apply.LatentEdit())])
    still = replace(editor, plan=nothing)
    assert not still.tunes
    assert still.tuned(faces[0]) is still


def test_steps_come_from_the_card_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch, tiny_card: Path, perception: Perception
) -> None:
    monkeypatch.setattr(tuning, "perception_for", lambda _: perception)
    model = load_named(str(tiny_card))
    assert tuner_for(model, None) is None
    wanted = tuner_for(model, 4)
    assert wanted is not None
    assert wanted.steps == 4
    with_card = replace(model, card=model.card.model_copy(update={"tune": 7}))
    found = tuner_for(with_card, None)
    assert found is not None
    assert found.steps == 7
    assert tuner_for(with_card, 0) is None


@pytest.mark.usefixtures("faster")
def test_edit_tunes_and_its_manifest_says_so(
    monkeypatch: pytest.MonkeyPatch, perception: Perception, tiny_card: Path, samples: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "perception_for", lambda _: perception)
    photo, inverted = min(p for p in samples.iterdir() if p.suffix == ".jpg"), tmp_path / "inverted"
    (tmp_path / "r.yaml").write_text("truncation: 0.5\ncompose: {detail: 1, colour: 1}\ntune: 1")

    def run(*words: object) -> None:
        done = call_here(*words, "--model", tiny_card)
        assert done.returncode == 0, done.stderr

    run("invert", photo, "-o", inverted)
    pictures, steps = list[bytes](), list[int]()
    for name, options in (("recipe", ()), ("more", ("--tune", "3")), ("none", ("--tune", "0"))):
        run("edit", inverted, "-r", tmp_path / "r.yaml", "-o", tmp_path / name, *options)
        pictures.append((tmp_path / f"{name}/composites/{photo.stem}.png").read_bytes())
        steps.append(json.loads((tmp_path / name / "manifest.jsonl").read_text().splitlines()[0])["settings"]["tune"])
    assert steps == [1, 3, 0]
    assert len(set(pictures)) == 3
    assert [file.name for file in (inverted / "tuned").iterdir()] == [f"{photo.stem}.safetensors"]

"""Cards to models: parts that belong together are loaded, others are refused by name."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_files import CHANNELS, KERNEL, ONE, SIZE, WIDTH, rosinality
from torch import Tensor

from oodinv.errors import MissingWeights, UnknownLayout, WeightsError
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Samm
from oodinv.recipe.card import find_card, read_card
from oodinv.weights import native
from oodinv.weights.build import Model, load_model
from oodinv.weights.families import build_samm
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


def published_samm(channels: Mapping[int, int], taps: Mapping[int, int]) -> dict[str, Tensor]:
    """SAMM in the published names, with values that tell the keys apart."""
    state: dict[str, Tensor] = {}
    for size, width in channels.items():
        n = {256: 0, 128: 1, 64: 2, 32: 3}[size]
        state |= {
            f"feats_conv.{n}.weight": torch.randn(width, taps[size], 1, 1),
            f"feats_conv.{n}.bias": torch.randn(width),
            f"modulation.{n}.weight": ONE,
            f"modulation.{n}.noiseInj.weight": ONE,
            f"modulation.{n}.alignment.blur.kernel": KERNEL / 64,
        }
        for unit, outputs in ((0, 2 * width), (1, 3)):
            body = f"modulation.{n}.alignment.body.body.{unit}"
            for layer, shape in {
                "res_layer.0.weight": (2 * width,),
                "res_layer.0.bias": (2 * width,),
                "res_layer.1.weight": (outputs, 2 * width, 3, 3),
                "res_layer.2.weight": (outputs,),
                "res_layer.3.weight": (outputs, outputs, 3, 3),
                "res_layer.4.weight": (outputs,),
                "res_layer.4.bias": (outputs,),
            }.items():
                state[f"{body}.{layer}"] = torch.randn(shape)
            if unit == 1:
                state[f"{body}.shortcut_layer.0.weight"] = torch.randn(3, 2 * width, 1, 1)
                state[f"{body}.shortcut_layer.1.weight"] = torch.randn(3)
                state[f"{body}.shortcut_layer.1.bias"] = torch.randn(3)
    return state


def test_samm_takes_the_averaged_parameters_and_the_sizes_of_the_card(tmp_path: Path) -> None:
    channels, taps = {32: 6, 64: 4}, {32: 5, 64: 3}
    ema, last = (published_samm(channels, taps) for _ in range(2))
    torch.save({"params": last, "params_ema": ema}, tmp_path / "samm.pth")
    source = translate(read(tmp_path / "samm.pth"))
    card = write_card(tmp_path, samm="samm: {weights: samm.pth, sizes: [32], cycles: 3, flow_range: 0.1}")
    samm_card = read_card(card).samm
    assert samm_card is not None
    samm = build_samm(samm_card, source)
    assert (samm.sizes, samm.cycles, samm.flow_range) == ([32], 3, 0.1)
    stored = samm.state_dict()
    body = "modulation.3.alignment.body.body"
    assert torch.equal(stored["project.32.weight"], ema["feats_conv.3.weight"])
    assert torch.equal(stored["bodies.32.units.0.conv2.weight"], ema[f"{body}.0.res_layer.3.weight"])
    assert torch.equal(stored["bodies.32.units.1.shortcut_norm.bias"], ema[f"{body}.1.shortcut_layer.1.bias"])
    with pytest.raises(UnknownLayout, match=r"no SAMM for size 128"):
        build_samm(samm_card.model_copy(update={"sizes": [32, 128]}), source)


def write_card(
    folder: Path, *, generator: str = "g.safetensors", average: str = "", samm: str = "", size: int = SIZE
) -> Path:
    card = folder / "tiny.yaml"
    card.write_text(
        f"name: tiny\nsize: {size}\nlicence: none\ngenerator: {{kind: stylegan2, weights: {generator}}}\n"
        f"encoder: {{kind: pyramid, weights: e.safetensors{average}}}\n{samm}\n"
    )
    return card


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with the three parts of a tiny model in oodinv's own files."""
    torch.manual_seed(0)
    generator = StyleGAN2(SIZE, CHANNELS, w_dim=WIDTH, z_dim=WIDTH, mapping_layers=2, conv_clamp=64.0)
    generator.w_avg.normal_()
    encoder = PyramidEncoder(SIZE, {32: 4, 16: 5, 8: 6, 4: 7}, num_ws=8, w_dim=WIDTH, hidden=9)
    encoder.w_avg.normal_()
    samm = Samm({16: 8, 32: 6}, {16: 5, 32: 4}, cycles=2, flow_range=0.08)
    native.save(tmp_path / "g.safetensors", generator)
    native.save(tmp_path / "e.safetensors", encoder)
    native.save(tmp_path / "s.safetensors", samm)
    return tmp_path


SAMM_LINE = "samm: {weights: s.safetensors, sizes: [16, 32]}"


def load(card: Path) -> Model:
    return load_model(read_card(card), card)


def test_a_card_of_our_own_files_loads_whole(parts: Path) -> None:
    model = load(write_card(parts, samm=SAMM_LINE))
    assert model.generator.conv_clamp == 64.0
    assert model.generator.channels == CHANNELS
    assert model.samm is not None
    assert model.samm.sizes == [16, 32]
    assert model.notes == ()
    assert model.files == {
        "generator": parts / "g.safetensors",
        "encoder": parts / "e.safetensors",
        "samm": parts / "s.safetensors",
    }
    stored = read(parts / "e.safetensors").tensors
    assert torch.equal(model.encoder.w_avg, stored["w_avg"].float())
    assert torch.equal(model.encoder.head.weight, stored["head.weight"].float())
    for module in (model.generator, model.encoder, model.samm):
        assert not module.training
        assert not any(p.requires_grad or p.is_meta for p in module.parameters())
        assert not any(b.is_meta for b in module.buffers())


def test_a_cards_own_average_comes_first(parts: Path) -> None:
    np.save(parts / "average.npy", np.full((1, WIDTH), 0.5, np.float32))
    model = load(write_card(parts, average=", average: average.npy"))
    assert torch.equal(model.encoder.w_avg, torch.full((8, WIDTH), 0.5))
    np.save(parts / "average.npy", np.zeros((3, WIDTH), np.float32))
    with pytest.raises(WeightsError, match=r"shape \(3, 16\).*\(8, 16\)"):
        load(write_card(parts, average=", average: average.npy"))


def test_without_samm_the_model_says_so_once(parts: Path) -> None:
    absent = load(write_card(parts, samm="samm: {weights: absent.pth}"))
    assert absent.samm is None
    assert len(absent.notes) == 1
    assert "absent.pth" in absent.notes[0]
    unnamed = load(write_card(parts))
    assert unnamed.samm is None
    assert len(unnamed.notes) == 1


def test_a_missing_file_is_named_with_card_and_origin(
    parts: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("OODINV_CACHE", str(cache))
    card = write_card(parts, generator="stylegan2-ffhq-config-f.pt")
    with pytest.raises(MissingWeights, match=r"tiny\.yaml.*stylegan2-ffhq-config-f\.pt.*https://"):
        load(card)
    torch.save({"g_ema": rosinality()}, cache / "stylegan2-ffhq-config-f.pt")
    assert load(card).files["generator"] == cache / "stylegan2-ffhq-config-f.pt"
    with pytest.raises(MissingWeights, match=r"tiny\.yaml.*other\.pt"):
        load(write_card(parts, generator="other.pt"))
    (cache / "stylegan2-ffhq-config-f.pt").rename(cache / "other.pt")
    assert load(write_card(parts, generator="other.pt")).files["generator"] == cache / "other.pt"


@pytest.mark.parametrize("name", ["ffhq-e4e", "ffhq-restyle", "ffhq-feature-style"])
def test_shipped_cards_say_where_their_files_come_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    text, card = find_card(name).read_text(), read_card(find_card(name))
    assert card.samm is not None
    assert card.samm.sizes == [32, 64, 128, 256]
    for weights in (card.generator.weights, card.encoder.weights, card.samm.weights):
        assert f"# {weights} " in text
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(MissingWeights, match=r"card\.yaml.*https://github\.com/"):
        load(tmp_path / "card.yaml")


MISFITS: list[tuple[dict[str, object], str]] = [
    ({"size": 64}, "image size is 32, but 64"),
    ({"generator": "e.safetensors"}, "no generator"),
    ({"generator": "narrow.pt"}, r"w_plus is \(8, 16\), but \(6, 16\)"),
    ({"samm": SAMM_LINE.replace("16, 32", "8, 32")}, "no SAMM for size 8"),
    ({"samm": SAMM_LINE.replace("s.saf", "wide.saf")}, "channels at 32 is 7, but 6"),
]


@pytest.mark.parametrize(("change", "says"), MISFITS)
def test_parts_that_do_not_belong_together_are_refused(parts: Path, change: dict[str, object], says: str) -> None:
    torch.save({"g_ema": rosinality({4: 8, 8: 6, 16: 5})}, parts / "narrow.pt")
    native.save(parts / "wide.safetensors", Samm({16: 8, 32: 7}, {16: 5, 32: 4}, cycles=2, flow_range=0.08))
    size = 16 if change.get("generator") == "narrow.pt" else SIZE
    with pytest.raises(WeightsError, match=says):
        load(write_card(parts, **{"size": size, **change}))  # type: ignore[arg-type]

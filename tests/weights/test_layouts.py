"""Foreign names to ours, and cards to models: what fits is loaded whole, what doesn't is named."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from oodinv.errors import MissingWeights, UnknownLayout, WeightsError
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.generators.base import map_latents
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Samm
from oodinv.models.synthesis import synthesize
from oodinv.recipe.card import find_card, read_card
from oodinv.weights import native
from oodinv.weights.build import Model, load_model
from oodinv.weights.families import build_generator, build_samm
from oodinv.weights.reading.average import read_average
from oodinv.weights.reading.read import WeightsFile, read
from oodinv.weights.translation import recognise, translate

SIZE, WIDTH = 32, 16
CHANNELS = {4: 12, 8: 10, 16: 8, 32: 6}
KERNEL = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1]))


def file_of(tensors: Mapping[str, Tensor], **settings: object) -> WeightsFile:
    return WeightsFile(Path("some.pt"), "torch", dict(tensors), settings)


def rosinality(channels: Mapping[int, int] = CHANNELS) -> dict[str, Tensor]:
    """A generator in rosinality's names, written down from the layout and not from our table."""
    draw = torch.Generator().manual_seed(1)
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=draw)

    def add_conv(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.conv.weight", 1, outputs, inputs, 3, 3)
        add(f"{name}.conv.modulation.weight", inputs, WIDTH)
        add(f"{name}.conv.modulation.bias", inputs)
        add(f"{name}.noise.weight", 1)
        add(f"{name}.activate.bias", outputs)

    def add_rgb(name: str, inputs: int) -> None:
        add(f"{name}.conv.weight", 1, 3, inputs, 1, 1)
        add(f"{name}.conv.modulation.weight", inputs, WIDTH)
        add(f"{name}.conv.modulation.bias", inputs)
        add(f"{name}.bias", 1, 3, 1, 1)

    for n in (1, 2):
        add(f"style.{n}.weight", WIDTH, WIDTH)
        add(f"style.{n}.bias", WIDTH)
    sizes = sorted(channels)
    add("input.input", 1, channels[4], 4, 4)
    add_conv("conv1", channels[4], channels[4])
    add_rgb("to_rgb1", channels[4])
    add("noises.noise_0", 1, 1, 4, 4)
    for n, (before, size) in enumerate(pairwise(sizes)):
        add_conv(f"convs.{2 * n}", channels[before], channels[size])
        add_conv(f"convs.{2 * n + 1}", channels[size], channels[size])
        add_rgb(f"to_rgbs.{n}", channels[size])
        state[f"convs.{2 * n}.conv.blur.kernel"] = KERNEL / 16
        state[f"to_rgbs.{n}.upsample.kernel"] = KERNEL / 16
        add(f"noises.noise_{2 * n + 1}", 1, 1, size, size)
        add(f"noises.noise_{2 * n + 2}", 1, 1, size, size)
    return state


def nvidia(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same generator in NVIDIA's names."""
    sizes = sorted(CHANNELS)
    layers = {"conv1": "b4.conv1", "to_rgb1": "b4.torgb"}
    noises = {"noises.noise_0": "b4.conv1"}
    for n, size in enumerate(sizes[1:]):
        layers |= {f"convs.{2 * n}": f"b{size}.conv0", f"convs.{2 * n + 1}": f"b{size}.conv1"}
        layers |= {f"to_rgbs.{n}": f"b{size}.torgb"}
        noises |= {f"noises.noise_{2 * n + 1}": f"b{size}.conv0", f"noises.noise_{2 * n + 2}": f"b{size}.conv1"}
    tails = {
        "conv.weight": "weight",
        "conv.modulation.weight": "affine.weight",
        "conv.modulation.bias": "affine.bias",
        "noise.weight": "noise_strength",
        "activate.bias": "bias",
        "bias": "bias",
    }
    found: dict[str, Tensor] = {"synthesis.b4.const": state["input.input"][0]}
    for key, value in state.items():
        if key in noises:
            found[f"synthesis.{noises[key]}.noise_const"] = value[0, 0]
        for source, target in layers.items():
            tail = key.removeprefix(f"{source}.")
            if tail != key and tail in tails:
                found[f"synthesis.{target}.{tails[tail]}"] = value[0] if value.ndim == 5 else value.squeeze()
    for n in (0, 1):
        found |= {f"mapping.fc{n}.{k}": state[f"style.{n + 1}.{k}"] for k in ("weight", "bias")}
    found["mapping.w_avg"] = torch.arange(WIDTH) / WIDTH
    return {f"G_ema.{k}": v for k, v in found.items()}


# --- generators


def test_both_generator_layouts_give_the_same_images() -> None:
    state = rosinality()
    average = torch.arange(WIDTH) / WIDTH
    one = build_generator(
        translate(
            file_of(
                {f"g_ema.{k}": v for k, v in state.items()},
            )
        )
    )
    other = build_generator(translate(file_of(nvidia(state))))
    z = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        images = [synthesize(g, map_latents(g, z)[:, None].expand(-1, g.num_ws, -1), "fixed") for g in (one, other)]
    assert images[0].shape == (2, 3, SIZE, SIZE)
    assert torch.equal(images[0], images[1])
    assert torch.equal(other.w_avg, average)
    assert (one.channels, one.w_dim, one.z_dim, one.num_ws) == (CHANNELS, WIDTH, WIDTH, 8)
    assert not any(p.requires_grad for p in one.parameters())
    assert not one.training


def test_a_file_without_an_average_gets_the_mean_of_many_draws() -> None:
    generator = build_generator(translate(file_of(rosinality())))
    z = torch.randn(50_000, WIDTH, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        w = map_latents(generator, z)
    assert torch.allclose(generator.w_avg, w.mean(dim=0), atol=0.05 * float(w.std()))


@pytest.mark.parametrize("rows", [1, 8])
def test_the_average_of_an_encoder_file_is_the_mean_of_its_rows(rows: int) -> None:
    average = torch.randn(rows, WIDTH)
    state = {f"state_dict.decoder.{k}": v for k, v in rosinality().items()}
    generator = build_generator(translate(file_of({**state, "latent_avg": average})))
    assert torch.allclose(generator.w_avg, average.mean(dim=0))


def test_an_nvidia_clamp_reaches_the_generator() -> None:
    settings = {"G_ema.init_kwargs": {"synthesis_kwargs": {"conv_clamp": 256}}}
    generator = build_generator(translate(file_of(nvidia(rosinality()), **settings)))
    assert generator.conv_clamp == 256.0


def test_half_precision_files_are_read_as_float32() -> None:
    generator = build_generator(translate(file_of({k: v.half() for k, v in rosinality().items()})))
    assert {p.dtype for p in generator.parameters()} == {torch.float32}


Change = Callable[[dict[str, Tensor]], object]


@dataclass(frozen=True)
class Broken:
    """A change to rosinality's file, and what the error must say."""

    change: Change
    says: str


BROKEN = {
    "unknown key": Broken(lambda s: s.update({"attention.weight": torch.zeros(1)}), "attention.weight"),
    "missing layer": Broken(lambda s: s.pop("convs.3.activate.bias"), "lacks blocks.16.conv.bias"),
    "missing noise": Broken(lambda s: s.pop("noises.noise_4"), "lacks blocks.16.conv.noise"),
    "wrong shape": Broken(
        lambda s: s.update({"to_rgbs.1.conv.weight": torch.zeros(1, 4, 8, 1, 1)}), "blocks.16.to_rgb.weight"
    ),
    "two samples": Broken(lambda s: s.update({"conv1.conv.weight": torch.zeros(2, 12, 12, 3, 3)}), "conv1.conv.weight"),
    "another filter": Broken(
        lambda s: s.update({"convs.0.conv.blur.kernel": torch.ones(4, 4)}), r"convs\.0\.conv\.blur\.kernel"
    ),
    "no mapping": Broken(
        lambda s: [s.pop(k) for k in list(s) if k.startswith("style.")], r"mapping\.layers\.0\.weight"
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_generators_are_refused_by_name(case: str) -> None:
    state = rosinality()
    BROKEN[case].change(state)
    with pytest.raises(UnknownLayout, match=BROKEN[case].says) as error:
        build_generator(translate(file_of(state)))
    assert "some.pt" in str(error.value)


@pytest.mark.parametrize(
    ("key", "says"),
    [("mapping.embed.weight", "class-conditional"), ("synthesis.b8.skip.weight", "residual architecture")],
)
def test_nvidia_networks_that_are_not_ours_are_refused_with_the_reason(key: str, says: str) -> None:
    with pytest.raises(UnknownLayout, match=says):
        translate(file_of({**nvidia(rosinality()), f"G_ema.{key}": torch.zeros(2, 2)}))


# --- recognition

ONE = torch.ones(1)
RECOGNISED: list[tuple[str, dict[str, Tensor], dict[str, object]]] = [
    ("stylegan2-rosinality", {"g_ema.input.input": ONE, "latent_avg": ONE, "d.final.weight": ONE}, {}),
    ("stylegan2-rosinality", {"input.input": ONE}, {}),
    ("stylegan2-nvidia", {"G_ema.synthesis.b4.const": ONE, "D.b4.fc.weight": ONE}, {}),
    ("e4e", {"state_dict.encoder.latlayer1.weight": ONE}, {}),
    ("e4e", {"state_dict.encoder.latlayer1.weight": ONE}, {"opts": {"encoder_type": "Encoder4Editing"}}),
    ("restyle-e4e", {"state_dict.encoder.styles.0.convs.0.weight": ONE}, {"opts": {"input_nc": 6}}),
    (
        "other-encoder",
        {"state_dict.encoder.latlayer1.weight": ONE, "state_dict.decoder.input.input": ONE},
        {"opts": {"encoder_type": "GradualStyleEncoder"}},
    ),
    ("feature-style", {"block_1.0.bn1.weight": ONE, "content_layer.0.weight": ONE}, {}),
    ("samm", {"params.modulation.2.weight": ONE, "params_ema.modulation.2.weight": ONE}, {}),
    ("samm", {"params.modulation.2.weight": ONE, "params.delta_latent": ONE, "params.avg_latent": ONE}, {}),
    ("samm", {"modulation.3.noiseInj.weight": ONE, "feats_conv.3.bias": ONE}, {}),
    ("ood-inversion", {"generator.input.input": ONE, "modulation.0.weight": ONE}, {}),
    ("lpips", {"VGG16_0.Conv_0.kernel": torch.ones(3, 3, 3, 64)}, {}),
    ("oodinv", {"const": ONE}, {"format": "oodinv", "kind": "stylegan2"}),
]


@pytest.mark.parametrize(("name", "tensors", "settings"), RECOGNISED)
def test_every_layout_is_recognised(name: str, tensors: dict[str, Tensor], settings: dict[str, object]) -> None:
    assert recognise(file_of(tensors, **settings)) == name


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("G_ema.synthesis.input.freqs", "StyleGAN3"),
        ("features.0.weight", "image classifier"),
        ("body.0.res_layer.0.weight", "face-recognition"),
        ("something.weight", r"its tensors are something\.weight"),
    ],
)
def test_unknown_files_are_refused_with_what_they_hold(key: str, says: str) -> None:
    with pytest.raises(UnknownLayout, match=says):
        recognise(file_of({key: ONE}))


def test_psp_serves_as_generator_but_not_as_encoder() -> None:
    state = {f"state_dict.decoder.{k}": v for k, v in rosinality().items()}
    state["state_dict.encoder.latlayer1.weight"] = ONE
    translation = translate(file_of(state, opts={"encoder_type": "GradualStyleEncoder"}))
    assert build_generator(translation).size == SIZE
    with pytest.raises(UnknownLayout, match="no encoder"):
        translation.part("encoder")


@pytest.mark.parametrize("case", ["ood_e4e_1024", "ood_restyle_1024", "ood_featurestyle_1024", "stylegan2_256"])
def test_every_published_name_has_a_place(shared: Path, case: str) -> None:
    """Nothing of value is dropped: as many numbers come out as go in, less those known to be unused."""
    spec = golden.fill(shared).load_spec(shared / "golden" / f"{case}.spec.json.gz")
    unused = ("kernel", "delta_latent", "noiseInj.weight", "content_layer")
    state = {e["name"]: torch.empty(e["shape"], device="meta") for e in spec if "shape" in e}
    translation = translate(file_of(state))
    found = sum(v.numel() for part in translation.parts.values() for v in part.values())
    found += 0 if translation.average is None else translation.average.numel()
    expected = sum(
        v.numel()
        for k, v in state.items()
        if not any(word in k for word in unused) and k not in {f"modulation.{n}.weight" for n in range(4)}
    )
    assert found == expected


# --- SAMM


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


# --- average latents


@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (8, WIDTH)])
@pytest.mark.parametrize("suffix", ["pt", "npy", "safetensors", "dict.pt"])
def test_average_latents_are_read_from_every_form(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    value, path = torch.randn(shape), tmp_path / f"average.{suffix}"
    match suffix:
        case "pt":
            torch.save(value, path)
        case "npy":
            np.save(path, value.numpy())
        case "safetensors":
            save_file({"latent_avg": value}, path)
        case _:
            torch.save({"latent_avg": value}, path)
    assert torch.equal(read_average(path), value)


def test_what_is_no_average_latent_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.zeros((2, 3, 4), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "three.npy").read_bytes()[:100])
    torch.save({"a": ONE, "b": ONE}, tmp_path / "two.pt")
    for name in ("three.npy", "cut.npy", "two.pt", "absent.pt"):
        with pytest.raises(WeightsError, match=name):
            read_average(tmp_path / name)


# --- cards


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


def test_options_may_be_a_namespace(tmp_path: Path) -> None:
    tensors = {"encoder.latlayer1.weight": ONE}
    options = argparse.Namespace(encoder_type="Encoder4Editing", device="cuda:0")
    torch.save({"state_dict": tensors, "latent_avg": ONE, "opts": options}, tmp_path / "e4e.pt")
    assert recognise(read(tmp_path / "e4e.pt")) == "e4e"

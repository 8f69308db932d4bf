"""Foreign names to ours: what fits is loaded whole, what doesn't is named."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import golden
import pytest
import torch
from foreign_files import CHANNELS, ONE, SIZE, WIDTH, file_of, nvidia, rosinality
from torch import Tensor

from oodinv.errors import UnknownLayout
from oodinv.models.generators.base import map_latents
from oodinv.models.synthesis import synthesize
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read
from oodinv.weights.translation import recognise, translate


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


def test_options_may_be_a_namespace(tmp_path: Path) -> None:
    tensors = {"encoder.latlayer1.weight": ONE}
    options = argparse.Namespace(encoder_type="Encoder4Editing", device="cuda:0")
    torch.save({"state_dict": tensors, "latent_avg": ONE, "opts": options}, tmp_path / "e4e.pt")
    assert recognise(read(tmp_path / "e4e.pt")) == "e4e"

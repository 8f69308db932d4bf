"""MobileStyleGAN out of OpenVINO networks: values arrive whole, and damaged or foreign networks are refused by name."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino_ir
import pytest
import torch
from openvino_ir import Writer

from oodinv.errors import MissingWeights, OodinvError, UnknownLayout, WeightsError
from oodinv.models.generators.mobilestylegan import MobileStyleGAN
from oodinv.recipe.card import SammCard
from oodinv.weights import native
from oodinv.weights.convert import convert
from oodinv.weights.families import build_generator, build_samm
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate
from oodinv.weights.verify import verify

CHANNELS = {4: 12, 8: 8, 16: 6}


@pytest.fixture
def generator() -> MobileStyleGAN:
    torch.manual_seed(0)
    made = MobileStyleGAN(32, CHANNELS, w_dim=5, z_dim=5, mapping_layers=2)
    for name, value in made.named_buffers():
        if name.endswith("noise"):
            value.normal_()
    return made.eval().requires_grad_(False)


@pytest.fixture
def folder(generator: MobileStyleGAN, tmp_path: Path) -> Path:
    return openvino_ir.write(generator, tmp_path / "ir")


def test_every_constant_of_a_network_is_read(generator: MobileStyleGAN, folder: Path) -> None:
    found = build_generator(translate(read(folder)))
    assert isinstance(found, MobileStyleGAN)
    assert found.config() == generator.config()
    expected = generator.state_dict()
    for name, value in found.state_dict().items():
        if name != "w_avg":
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
    z = torch.randn(10_000, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.w_avg, generator.map(z).mean(dim=0))


def test_the_transposition_of_the_mapping_weights_is_read_and_not_guessed(
    generator: MobileStyleGAN, folder: Path
) -> None:
    openvino_ir.mapping(generator, transposed=False).write(folder / "MappingNetwork")
    found = build_generator(translate(read(folder)))
    z = torch.randn(3, 5)
    torch.testing.assert_close(found.map(z), generator.map(z))


def test_openvino_networks_are_verified_and_imported(generator: MobileStyleGAN, folder: Path, tmp_path: Path) -> None:
    report = verify(folder)
    assert (report.layout, report.container) == ("mobilestylegan-openvino", "openvino")
    assert report.sizes == {"size": 32, "w_dim": 5, "num_ws": 6}
    assert convert(folder, tmp_path / "g.safetensors").part == "generator"
    again = build_generator(translate(read(tmp_path / "g.safetensors")))
    assert again.config() == generator.config()
    torch.testing.assert_close(again.state_dict()["to_image.weight"], generator.to_image.weight)


def test_half_precision_constants_are_read(folder: Path) -> None:
    net = Writer()
    net.const("half", np.arange(6, dtype="<f2").reshape(2, 3))
    net.const("whole", np.array([1 << 40]))
    net.write(folder / "Other")
    tensors = read(folder / "Other.xml").tensors
    torch.testing.assert_close(tensors["Other.constants.half"], torch.arange(6.0).half().reshape(2, 3))
    assert tensors["Other.constants.whole"].tolist() == [1 << 40]


# Damage


def edited(path: Path, pattern: str, replacement: str, count: int = 1) -> None:
    text, changes = re.subn(pattern, replacement, path.read_text(), count=count)
    assert changes
    path.write_text(text)


DAMAGES: dict[str, tuple[Callable[[Path], None], type[OodinvError], str]] = {
    "cut off": (
        lambda f: (f / "SynthesisNetwork.xml").write_text((f / "SynthesisNetwork.xml").read_text()[:5000]),
        WeightsError,
        r"SynthesisNetwork\.xml.*not complete XML",
    ),
    "constants cut off": (
        lambda f: (f / "SynthesisNetwork.bin").write_bytes((f / "SynthesisNetwork.bin").read_bytes()[:-4]),
        WeightsError,
        r"SynthesisNetwork\.bin is damaged",
    ),
    "no constants": (lambda f: (f / "MappingNetwork.bin").unlink(), MissingWeights, r"no MappingNetwork\.bin beside"),
    "empty constants": (lambda f: (f / "MappingNetwork.bin").write_bytes(b""), WeightsError, "is damaged"),
    "negative offset": (
        lambda f: edited(f / "MappingNetwork.xml", r'offset="\d+"', 'offset="-4"'),
        WeightsError,
        "offset='-4'",
    ),
    "size of another shape": (
        lambda f: edited(f / "MappingNetwork.xml", r'shape="5, 5"', 'shape="5, 500000"'),
        WeightsError,
        "for the shape",
    ),
    "unknown elements": (
        lambda f: edited(f / "MappingNetwork.xml", 'element_type="f32"', 'element_type="u1"'),
        WeightsError,
        "elements of type 'u1'",
    ),
    "an edge to nowhere": (
        lambda f: edited(f / "MappingNetwork.xml", 'from-layer="0"', 'from-layer="999"'),
        WeightsError,
        "layer 999",
    ),
    "two layers of one name": (
        lambda f: edited(f / "MappingNetwork.xml", 'name="MatMul_1"', 'name="MatMul_0"'),
        WeightsError,
        "same id or name",
    ),
    "entities": (
        lambda f: edited(f / "MappingNetwork.xml", r"<net ", '<!DOCTYPE n [<!ENTITY a "aaa">]>\n<net '),
        WeightsError,
        "declares a document type",
    ),
    "another version": (
        lambda f: edited(f / "MappingNetwork.xml", 'version="10"', 'version="6"'),
        UnknownLayout,
        "version 6",
    ),
    "another operation": (
        lambda f: edited(f / "SynthesisNetwork.xml", 'type="PReLU"', 'type="Sigmoid"'),
        UnknownLayout,
        r"operations that MobileStyleGAN has not \(Sigmoid\)",
    ),
    "another gain": (
        lambda f: edited(f / "SynthesisNetwork.xml", r'(name="Constant_[^>]*><data[^>]*offset=)"\d+"', r'\1"0"'),
        UnknownLayout,
        "constant Constant_.* that MobileStyleGAN has not",
    ),
    "no mapping network": (
        lambda f: [(f / f"MappingNetwork.{e}").unlink() for e in ("xml", "bin")] and None,
        UnknownLayout,
        r"lacks MappingNetwork\.xml",
    ),
    "a missing layer": (
        lambda f: edited(f / "SynthesisNetwork.xml", r"m\.layers\.1\.conv2\.bias", "unknown"),
        UnknownLayout,
        r"no layer m\.layers\.1\.conv2\.bias",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_networks_are_named(damage: str, folder: Path) -> None:
    spoil, error, message = DAMAGES[damage]
    spoil(folder)
    with pytest.raises(error, match=message) as caught:
        build_generator(translate(read(folder)))
    assert str(folder) in str(caught.value)


def test_entities_are_not_expanded(folder: Path) -> None:
    """A few kilobytes that would unfold to gigabytes are refused at once."""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 20}">' for n in range(1, 12))
    bomb = f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY l0 "lol">{entities}]><net version="10" name="&l11;"></net>'
    (folder / "MappingNetwork.xml").write_text(bomb)
    with pytest.raises(WeightsError, match="refused"):
        read(folder)


def test_other_xml_and_folders_without_networks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "page.xml").write_text('<?xml version="1.0"?><html><body/></html>')
    with pytest.raises(UnknownLayout):
        read(tmp_path / "page.xml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="folder without networks"):
        read(tmp_path / "empty")


def test_a_samm_is_not_found_in_a_generator(folder: Path) -> None:
    with pytest.raises(UnknownLayout, match="no samm"):
        build_samm(SammCard(weights="x", sizes=[8]), translate(read(folder)))


def test_the_card_must_name_the_family(folder: Path) -> None:
    from oodinv.models.generators.base import GeneratorCard

    with pytest.raises(UnknownLayout, match="generator of kind mobilestylegan, and the card says stylegan2"):
        build_generator(translate(read(folder)), GeneratorCard(kind="stylegan2", weights="ir"))


def test_own_files_of_the_family_come_back(generator: MobileStyleGAN, tmp_path: Path) -> None:
    native.save(tmp_path / "g.safetensors", generator, torch.float32)
    again = build_generator(translate(read(tmp_path / "g.safetensors")))
    w_plus = torch.randn(2, generator.num_ws, 5)
    from oodinv.models.synthesis import synthesize

    torch.testing.assert_close(synthesize(again, w_plus), synthesize(generator, w_plus), rtol=0, atol=0)

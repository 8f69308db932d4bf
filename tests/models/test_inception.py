"""InceptionV3 as FID is defined with it: published names, the number of parameters, pooling, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from oodinv.errors import UnknownLayout
from oodinv.models.perceptors.inception import Inception, pooled
from oodinv.weights.families import build_inception
from oodinv.weights.reading.read import WeightsFile, read
from oodinv.weights.translation import translate

PARAMETERS = 21_785_568
"""Trainable parameters of torchvision's inception_v3 without auxiliary and last classifier."""

# Written down from the published checkpoint's layout: unit, inputs, outputs, kernel.
STEM = (
    ("Conv2d_1a_3x3", 3, 32, (3, 3)),
    ("Conv2d_2a_3x3", 32, 32, (3, 3)),
    ("Conv2d_2b_3x3", 32, 64, (3, 3)),
    ("Conv2d_3b_1x1", 64, 80, (1, 1)),
    ("Conv2d_4a_3x3", 80, 192, (3, 3)),
)


def wide(i: int, pool: int) -> list[tuple[str, int, int, tuple[int, int]]]:
    return [
        ("branch1x1", i, 64, (1, 1)), ("branch5x5_1", i, 48, (1, 1)), ("branch5x5_2", 48, 64, (5, 5)),
        ("branch3x3dbl_1", i, 64, (1, 1)), ("branch3x3dbl_2", 64, 96, (3, 3)), ("branch3x3dbl_3", 96, 96, (3, 3)),
        ("branch_pool", i, pool, (1, 1)),
    ]  # fmt: skip


def middle(c: int) -> list[tuple[str, int, int, tuple[int, int]]]:
    return [
        ("branch1x1", 768, 192, (1, 1)), ("branch7x7_1", 768, c, (1, 1)), ("branch7x7_2", c, c, (1, 7)),
        ("branch7x7_3", c, 192, (7, 1)), ("branch7x7dbl_1", 768, c, (1, 1)), ("branch7x7dbl_2", c, c, (7, 1)),
        ("branch7x7dbl_3", c, c, (1, 7)), ("branch7x7dbl_4", c, c, (7, 1)), ("branch7x7dbl_5", c, 192, (1, 7)),
        ("branch_pool", 768, 192, (1, 1)),
    ]  # fmt: skip


def narrow(i: int) -> list[tuple[str, int, int, tuple[int, int]]]:
    return [
        ("branch1x1", i, 320, (1, 1)), ("branch3x3_1", i, 384, (1, 1)), ("branch3x3_2a", 384, 384, (1, 3)),
        ("branch3x3_2b", 384, 384, (3, 1)), ("branch3x3dbl_1", i, 448, (1, 1)), ("branch3x3dbl_2", 448, 384, (3, 3)),
        ("branch3x3dbl_3a", 384, 384, (1, 3)), ("branch3x3dbl_3b", 384, 384, (3, 1)), ("branch_pool", i, 192, (1, 1)),
    ]  # fmt: skip


BLOCKS = {
    "Mixed_5b": wide(192, 32), "Mixed_5c": wide(256, 64), "Mixed_5d": wide(288, 64),
    "Mixed_6a": [
        ("branch3x3", 288, 384, (3, 3)), ("branch3x3dbl_1", 288, 64, (1, 1)),
        ("branch3x3dbl_2", 64, 96, (3, 3)), ("branch3x3dbl_3", 96, 96, (3, 3)),
    ],
    "Mixed_6b": middle(128), "Mixed_6c": middle(160), "Mixed_6d": middle(160), "Mixed_6e": middle(192),
    "Mixed_7a": [
        ("branch3x3_1", 768, 192, (1, 1)), ("branch3x3_2", 192, 320, (3, 3)), ("branch7x7x3_1", 768, 192, (1, 1)),
        ("branch7x7x3_2", 192, 192, (1, 7)), ("branch7x7x3_3", 192, 192, (7, 1)), ("branch7x7x3_4", 192, 192, (3, 3)),
    ],
    "Mixed_7b": narrow(1280), "Mixed_7c": narrow(2048),
}  # fmt: skip


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A state dict with the published names and shapes and drawn values."""
    draw = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    units = [(name, i, o, kernel) for name, i, o, kernel in STEM]
    units += [(f"{block}.{name}", i, o, kernel) for block, rows in BLOCKS.items() for name, i, o, kernel in rows]
    for name, i, o, kernel in units:
        scale = (2 / (i * kernel[0] * kernel[1])) ** 0.5
        state[f"{name}.conv.weight"] = torch.randn(o, i, *kernel, generator=draw) * scale
        state |= {f"{name}.bn.weight": torch.ones(o), f"{name}.bn.bias": torch.zeros(o)}
        state |= {f"{name}.bn.running_mean": torch.zeros(o), f"{name}.bn.running_var": torch.ones(o)}
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def file_of(state: dict[str, Tensor]) -> WeightsFile:
    return WeightsFile(Path("inception.pth"), "torch", state, {})


def test_published_names_fill_the_network_whole(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "pt_inception.pth"
    torch.save(published, path)
    source = translate(read(path))
    network = build_inception(source)
    assert source.layout == "fid-inception"
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS
    unit = network.blocks["6c"].units["branch7x7dbl_4"]  # type: ignore[index, union-attr]
    assert torch.equal(unit.conv.weight, published["Mixed_6c.branch7x7dbl_4.conv.weight"])  # type: ignore[union-attr]
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        features = network(pictures)
    assert features.shape == (2, 2048)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fc.weight": torch.zeros(1000, 2048)}, "torchvision's 1000"),
        ({"AuxLogits.fc.weight": torch.zeros(1)}, "torchvision's InceptionV3"),
        ({"Mixed_5b.branch9.extra": torch.zeros(1)}, "unknown"),
    ],
)
def test_other_networks_are_refused(published: dict[str, Tensor], change: dict[str, Tensor], words: str) -> None:
    with pytest.raises(UnknownLayout, match=words):
        translate(file_of(published | change))


def test_a_missing_tensor_is_named(published: dict[str, Tensor]) -> None:
    state = {k: v for k, v in published.items() if k != "Mixed_7c.branch3x3_2b.bn.running_var"}
    with pytest.raises(UnknownLayout, match=r"lacks blocks\.7c\.units\.branch3x3_2b\.bn\.running_var"):
        build_inception(translate(file_of(state)))


def test_pooling_is_that_of_the_network_that_fid_has() -> None:
    """At a corner an average has four members, not nine; the last block alone takes the maximum."""
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    average, largest = pooled(x, "average")[0, 0], pooled(x, "max")[0, 0]
    assert average[0, 0] == (0 + 1 + 3 + 4) / 4
    assert average[1, 1] == 4
    assert largest[0, 0] == 4
    with torch.device("meta"):
        network = Inception()
    assert [network.blocks[name].pool for name in ("7b", "7c")] == ["average", "max"]

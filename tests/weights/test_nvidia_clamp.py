"""Bounds on activations (`conv_clamp`) in NVIDIA's pickles, compared with the formula written out."""

import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from oodinv.errors import WeightsError
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.synthesis import synthesize
from oodinv.weights import native
from oodinv.weights.convert import convert
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate

SIZES = (4, 8, 16)
CHANNELS = {4: 6, 8: 5, 16: 4}
WIDTH = 8
AGREEMENT = 2e-6
"""Largest deviation over the standard deviation of the picture."""

Drawn = dict[str, Tensor]


def draw() -> Drawn:
    """A generator in NVIDIA's names without the prefix `G_ema.`."""
    generator = torch.Generator().manual_seed(5)
    state: Drawn = {"mapping.w_avg": torch.zeros(WIDTH)}

    def add(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator)

    def add_layer(name: str, inputs: int, outputs: int, side: int) -> None:
        add(f"{name}.weight", outputs, inputs, side, side)
        add(f"{name}.bias", outputs)
        add(f"{name}.affine.weight", inputs, WIDTH)
        add(f"{name}.affine.bias", inputs)

    for n in range(2):
        add(f"mapping.fc{n}.weight", WIDTH, WIDTH)
        add(f"mapping.fc{n}.bias", WIDTH)
    add("synthesis.b4.const", CHANNELS[4], 4, 4)
    before = CHANNELS[4]
    for size in SIZES:
        for name in ("conv0", "conv1")[size == 4 :]:
            add_layer(f"synthesis.b{size}.{name}", before, CHANNELS[size], 3)
            add(f"synthesis.b{size}.{name}.noise_strength")
            add(f"synthesis.b{size}.{name}.noise_const", size, size)
            before = CHANNELS[size]
        add_layer(f"synthesis.b{size}.torgb", before, 3, 1)
    return state


def reference(state: Mapping[str, Tensor], w: Tensor, clamp: float | None) -> Tensor:
    """One picture (3, 16, 16) of rows w (6, WIDTH) in float64, clipped after the gain of the activation to ±clamp."""
    state = {name: value.double() for name, value in state.items()}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    kernel = taps.outer(taps)[None, None] / 16  # its sum is 4: zero insertion divides the mean by 4

    def clipped(x: Tensor) -> Tensor:
        return x if clamp is None else x.clamp(-clamp, clamp)

    def convolved(x: Tensor, name: str, row: Tensor, up: bool) -> Tensor:
        style = state[f"{name}.affine.weight"] @ row / WIDTH**0.5 + state[f"{name}.affine.bias"]
        weight = state[f"{name}.weight"] * style[None, :, None, None]
        if name.endswith("torgb"):
            weight = weight / weight.shape[1] ** 0.5
        else:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if not up:
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return smoothed(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1)

    def smoothed(x: Tensor, padding: int) -> Tensor:
        return F.conv2d(x.transpose(0, 1), kernel, padding=padding).transpose(0, 1)

    def layer(x: Tensor, name: str, row: Tensor, up: bool) -> Tensor:
        x = convolved(x, name, row, up) + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
        x = F.leaky_relu(x + state[f"{name}.bias"][:, None, None], 0.2) * 2**0.5
        return clipped(x)

    def doubled(rgb: Tensor) -> Tensor:
        spread = torch.zeros(*rgb.shape[:2], 2 * rgb.shape[2], 2 * rgb.shape[3], dtype=rgb.dtype)
        spread[..., ::2, ::2] = rgb
        return smoothed(F.pad(spread, (2, 1, 2, 1)), 0)

    x, rgb, used = state["synthesis.b4.const"][None], torch.zeros(1, 3, 2, 2, dtype=torch.float64), 0
    for size in SIZES:
        for name in ("conv0", "conv1")[size == 4 :]:
            x = layer(x, f"synthesis.b{size}.{name}", w[used].double(), name == "conv0")
            used += 1
        name = f"synthesis.b{size}.torgb"
        colour = clipped(convolved(x, name, w[used].double(), False) + state[f"{name}.bias"][:, None, None])
        rgb = doubled(rgb) + colour
    return rgb[0]


class Persistent:
    """Pickles as an object of a class that NVIDIA's `torch_utils.persistence` decorates."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": class_name}
        self.meta["state"] = state  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def network(state: Mapping[str, Tensor], own: Callable[[str], dict[str, Any]], path: str = "") -> Persistent:
    """The object of the module at `path` with its submodules; own(path) are attributes of a module."""
    here = [name.removeprefix(path) for name in state if name.startswith(path)]
    members = {name.split(".")[0] for name in here if "." in name}
    parameters = {name: nn.Parameter(state[path + name]) for name in here if "." not in name and "noise_c" not in name}
    attributes = {
        "_parameters": {name: value for name, value in parameters.items() if name != "w_avg"},
        "_buffers": {name: state[path + name] for name in here if name in ("noise_const", "w_avg")},
        "_modules": {name: network(state, own, f"{path}{name}.") for name in sorted(members)},
    }
    return Persistent("Generator" if not path else "Layer", attributes | own(path))


def write(path: Path, state: Mapping[str, Tensor], own: Callable[[str], dict[str, Any]]) -> Path:
    modules = {name: ModuleType(name) for name in ("torch_utils", "torch_utils.persistence")}

    def _reconstruct_persistent_obj(_: object) -> None:
        raise AssertionError("the file was unpickled")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        path.write_bytes(pickle.dumps({"G_ema": network(state, own)}))
    finally:
        for name in modules:
            del sys.modules[name]
    return path


def is_layer(path: str) -> bool:
    return path.endswith(("conv0.", "conv1.", "torgb."))


def attributes(layout: str, clamp: float | None) -> Callable[[str], dict[str, Any]]:
    """Settings of `clamp` in modules, as NVIDIA's two repositories write it and with parts of it left out."""
    arguments: dict[str, Any] = {"z_dim": WIDTH, "img_resolution": 16}

    def own(path: str) -> dict[str, Any]:
        match layout:
            case "nested" | "nested arguments alone" if not path:
                return {"_init_kwargs": arguments | {"synthesis_kwargs": {"conv_clamp": clamp, "num_fp16_res": 4}}}
            case "flat" | "flat arguments alone" if not path:
                return {"_init_kwargs": arguments | {"conv_clamp": clamp, "num_fp16_res": 4}}
            case "default of the class" if not path:
                return {"_init_kwargs": arguments}
            case "nested" | "flat" | "default of the class" if is_layer(path):
                return {"conv_clamp": clamp}
        return {}

    return own


LAYOUTS = ("nested", "flat", "nested arguments alone", "flat arguments alone", "default of the class")


def drawn(generator: Any, w: Tensor) -> Tensor:
    with torch.inference_mode():
        picture: Tensor = synthesize(generator, w[None], "fixed")[0]
    return picture


def deviation(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize("clamp", [0.5, 1.5, 256, None])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pickle_with_a_bound_on_activations_draws_what_the_formula_gives(
    tmp_path: Path, layout: str, clamp: float | None
) -> None:
    state = draw()
    generator = build_generator(translate(read(write(tmp_path / "g.pkl", state, attributes(layout, clamp)))))
    assert isinstance(generator, StyleGAN2)
    assert generator.conv_clamp == clamp
    w = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(6))
    expected = reference(state, w, clamp)
    assert deviation(drawn(generator, w), expected) <= AGREEMENT
    bites = deviation(reference(state, w, None), expected)
    assert bites > 0.5 if clamp in (0.5, 1.5) else bites == 0


def test_a_converted_file_keeps_the_bound(tmp_path: Path) -> None:
    state = draw()
    convert(write(tmp_path / "g.pkl", state, attributes("flat", 0.5)), tmp_path / "g.safetensors")
    generator = build_generator(translate(read(tmp_path / "g.safetensors")))
    w = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(6))
    assert deviation(drawn(generator, w), reference(state, w, 0.5)) <= AGREEMENT
    assert native.part_of(generator.kind) == "generator"


@pytest.mark.parametrize("clamp", [0, -1.0, float("nan"), 10**400, "256", [256]])
def test_a_bound_that_is_no_positive_number_is_refused_by_name(tmp_path: Path, clamp: Any) -> None:
    path = write(tmp_path / "odd.pkl", draw(), attributes("flat", clamp))
    with pytest.raises(WeightsError, match=r"odd\.pkl.*conv_clamp"):
        build_generator(translate(read(path)))


def test_layers_with_different_bounds_are_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.pkl", draw(), lambda p: {"conv_clamp": len(p)} if is_layer(p) else {})
    with pytest.raises(WeightsError, match=r"odd\.pkl.*different values of conv_clamp"):
        build_generator(translate(read(path)))

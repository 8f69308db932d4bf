"""Writes a MobileStyleGAN as OpenVINO networks, laid out as the published ones are."""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from torch import Tensor

from oodinv.models.generators.mobilestylegan import MobileStyleGAN

ELEMENTS = {np.dtype("<f4"): "f32", np.dtype("<f2"): "f16", np.dtype("<i8"): "i64", np.dtype("<i4"): "i32"}


class Writer:
    """Collects layers, edges and constants of one network."""

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.edges: list[str] = []
        self.data = b""

    def layer(self, name: str, kind: str, inputs: Sequence[int] = (), **attributes: object) -> int:
        """Adds a layer and returns its number."""
        number = len(self.layers)
        data = " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items())
        self.layers.append(f'<layer id="{number}" name={quoteattr(name)} type="{kind}"><data {data}/></layer>')
        for port, source in enumerate(inputs):
            self.edges.append(f'<edge from-layer="{source}" from-port="0" to-layer="{number}" to-port="{port}"/>')
        return number

    def const(self, name: str, value: np.ndarray | Tensor | float) -> int:
        """Adds a constant."""
        array = np.asarray(value.numpy() if isinstance(value, Tensor) else value)
        array = array.astype("<f4") if array.dtype.kind == "f" and array.dtype != np.float16 else array
        size, shape = array.nbytes, ", ".join(map(str, array.shape))
        kind, offset = ELEMENTS[array.dtype], len(self.data)
        self.data += array.tobytes()
        return self.layer(name, "Const", element_type=kind, shape=shape, offset=offset, size=size)

    def write(self, path: Path, version: int = 10) -> None:
        """Writes PATH.xml and PATH.bin."""
        path.with_suffix(".bin").write_bytes(self.data)
        path.with_suffix(".xml").write_text(
            f'<?xml version="1.0" ?>\n<net name="{path.stem}" version="{version}">\n<layers>\n'
            + "\n".join(self.layers)
            + "\n</layers>\n<edges>\n"
            + "\n".join(self.edges)
            + "\n</edges>\n</net>\n"
        )


def mapping(generator: MobileStyleGAN, transposed: bool = True) -> Writer:
    """The mapping network; weights as PyTorch has them, or multiplied from the right."""
    net = Writer()
    x = net.layer("var", "Parameter")
    square = net.layer("Pow_0", "Power", [x, net.const("171", np.full((1, 1), 2.0))])
    mean = net.layer("ReduceMean_1", "ReduceMean", [square, net.const("axis", np.array([1]))])
    x = net.layer("Mul_7", "Multiply", [x, net.layer("Add_3", "Add", [mean, net.const("eps", np.full((1, 1), 1e-8))])])
    for n, layer in enumerate(generator.mapping):
        state = layer.state_dict()
        weight = state["weight"] if transposed else state["weight"].t().contiguous()
        product = net.layer(
            f"MatMul_{n}", "MatMul", [x, net.const(f"17{n}w", weight)], transpose_b=str(transposed).lower()
        )
        shape = net.layer(f"Concat_{n}", "Concat", [net.const(f"17{n}s", np.array([1]))])
        bias = net.layer(f"Reshape_{n}", "Reshape", [net.const(f"17{n}b", state["bias"]), shape])
        x = net.layer(f"Add_{n}", "Add", [product, bias])
        x = net.layer(f"LeakyRelu_{n}", "PReLU", [x, net.const(f"slope_{n}", np.array([0.2]))])
        x = net.layer(f"Mul_{n}", "Multiply", [x, net.const(f"gain_{n}", np.full((1, 1), math.sqrt(2)))])
    net.layer("style", "Result", [x])
    return net


class _Synthesis(Writer):
    def __init__(self, generator: MobileStyleGAN) -> None:
        super().__init__()
        self.state = generator.state_dict()
        self.style = self.layer("style", "Parameter")

    def modulated(self, x: int, source: str, target: str, gain: float | None) -> int:
        weight, bias = self.state[f"{target}.weight"], self.state[f"{target}.bias"]
        product = self.layer(
            f"Gemm_{source}", "MatMul", [self.style, self.const(f"{source}.weight", weight)], transpose_b="true"
        )
        scale = self.layer(f"Add_{source}", "Add", [product, self.const(f"{source}.bias", bias[None])])
        if gain is not None:
            constant = self.const(f"Constant_{source}", np.full((1, 1, 1, 1), gain))
            scale = self.layer(f"Scale_{source}", "Multiply", [scale, constant])
        return self.layer(f"Mul_{source}", "Multiply", [x, scale])

    def finished(self, x: int, source: str, target: str) -> int:
        noise, bias = self.state[f"{target}.noise"], self.state[f"{target}.bias"]
        x = self.layer(f"Noise_{source}", "Add", [x, self.const(f"15{source}", noise[None, None])])
        x = self.layer(f"Bias_{source}", "Add", [x, self.const(f"{source}.bias", bias[None, :, None, None])])
        return self.layer(f"LeakyRelu_{source}", "PReLU", [x, self.const(f"slope_{source}", np.array([0.2]))])

    def separable(self, x: int, source: str, target: str) -> int:
        depthwise, weight = self.state[f"{target}.depthwise"], self.state[f"{target}.weight"]
        x = self.modulated(x, f"{source}.conv.modulation", f"{target}.affine", 1 / math.sqrt(9 * len(depthwise)))
        kernel = self.const(f"{source}.conv.weight_dw", depthwise[:, None])
        x = self.layer(f"Depthwise_{source}", "GroupConvolution", [x, kernel])
        x = self.layer(f"Conv_{source}", "Convolution", [x, self.const(f"{source}_copy", weight[..., None, None])])
        return self.finished(x, source, target)

    def inverse_wavelet(self, x: int, name: str, channels: int) -> int:
        haar = np.full((channels, 1, 1, 2, 1), math.sqrt(0.5))
        return self.layer(f"Up_{name}", "GroupConvolutionBackpropData", [x, self.const(f"haar_{name}", haar)])


def synthesis(generator: MobileStyleGAN) -> Writer:
    """The synthesis network."""
    net = _Synthesis(generator)
    state, first = net.state, generator.channels[4]
    x = net.layer("Expand_9", "Broadcast", [net.const("m.input.input", state["const"][None])])
    x = net.modulated(x, "m.conv1.conv.modulation", "conv1.affine", 1 / math.sqrt(9 * first))
    x = net.layer("Conv_21", "Convolution", [x, net.const("Mul_39_copy", state["conv1.weight"])])
    x = net.finished(x, "m.conv1", "conv1")
    for index, size in enumerate(generator.taps):
        source, target = f"m.layers.{index}", f"blocks.{size}"
        x = net.modulated(x, f"{source}.up.modulation", f"{target}.up", None)
        x = net.inverse_wavelet(x, source, len(state[f"{target}.up.bias"]) // 4)
        x = net.separable(x, f"{source}.conv1", f"{target}.conv1")
        x = net.separable(x, f"{source}.conv2", f"{target}.conv2")
    last = f"m.layers.{len(generator.taps) - 1}.to_img"
    gain = 1 / math.sqrt(len(state["to_image.affine.bias"]))
    x = net.modulated(x, f"{last}.conv.modulation", "to_image.affine", gain)
    x = net.layer(
        "Conv_rgb", "Convolution", [x, net.const(f"{last}.conv.weight", state["to_image.weight"][..., None, None])]
    )
    x = net.layer("Add_rgb", "Add", [x, net.const(f"{last}.bias", state["to_image.bias"][None, :, None, None])])
    net.layer("img", "Result", [net.inverse_wavelet(x, "img", 3)])
    return net


def write(generator: MobileStyleGAN, folder: Path) -> Path:
    """Writes both networks into a folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping(generator).write(folder / "MappingNetwork")
    synthesis(generator).write(folder / "SynthesisNetwork")
    return folder

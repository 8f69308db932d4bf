"""Interface of generators, which run block by block so that SAMM can align features in between.

A family is a subclass of `Generator` in a file of its own and one line in `GENERATORS` of this package's `__init__`.
It defines its arithmetic, the layouts of its weight files, how sizes follow from tensors, and the fields of its model
card. `oodinv.models.synthesis` runs every family.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from oodinv.models.naming import Layout, Rules, Settings, State
from oodinv.records import Strict

Noise = Literal["fixed", "zero"] | torch.Generator | tuple[torch.Generator, ...]
"""Noise input: the maps that come with the weights, none, or random maps from one generator for the batch or from one
for each of its samples, which then get the same noise whatever their neighbours."""


class PhotoNoise(NamedTuple):
    """Noise of single photos, as encoders or refinement find it, beside the noise of all.

    offsets: added to the noise of a block's first convolution, (B, 1 or its channels, S, S) by the block's key.
    """

    shared: Noise
    offsets: Mapping[int, Tensor]


def photo_noise(shared: Noise, offsets: Mapping[int, Tensor]) -> Noise | PhotoNoise:
    """Noise with offsets, or that of all photos where there are none."""
    return PhotoNoise(shared, offsets) if offsets else shared


WHITENING_SAMPLES = 16384
WHITENING_SEED = 5

Features = tuple[Tensor, ...]
"""Output of a block: feature maps (B, C, H, W), then whatever else the family passes on."""


class Tap(NamedTuple):
    """Feature maps that SAMM may align: their number of channels, and their side in pixels."""

    channels: int
    resolution: int


class Supplied(NamedTuple):
    """Buffers that a foreign file lacks, by parameter name, and a note that continues "FILE: …"."""

    buffers: dict[str, Tensor]
    note: str


class GeneratorCard(Strict):
    """The `generator:` of a model card: its family and the file that holds it. Families may add fields."""

    kind: str = "stylegan2"
    weights: str


class Generator(nn.Module, ABC):
    """A generator network.

    size: side of its pictures. num_ws, w_dim: shape of w_plus. z_dim: width of the mapping network's input. w_avg
    (w_dim,): average latent. taps: one entry for each block that SAMM may act in, in the order in which the blocks run;
    it describes the maps that `advance` returns. The key is any number that tells the blocks apart, by convention the
    side of those maps in pixels.
    """

    kind: ClassVar[str]
    """Name of the family in cards and in our own weight files."""
    mark: ClassVar[str]
    """Regular expression that matches a parameter's name, as in `state_dict`, of this family and of no other.

    It tells which family a file of oodinv holds.
    """
    layouts: ClassVar[tuple[Layout, ...]] = ()
    """Layouts of weight files of this family."""
    names: ClassVar[Rules] = ()
    """Keys of the parameters in files of several networks."""
    card: ClassVar[type[GeneratorCard]] = GeneratorCard
    spare_rows: ClassVar[int] = 0
    """Number of rows beyond `num_ws` in foreign codes and directions of this family; they are dropped."""

    size: int
    num_ws: int
    w_dim: int
    z_dim: int
    w_avg: Tensor
    taps: dict[int, Tap]

    # Codes

    @property
    def has_mapping(self) -> bool:
        """True if there is a mapping network from z to w; autoencoders have none."""
        return True

    @abstractmethod
    def map(self, z: Tensor) -> Tensor:
        """z (B, z_dim) → w (B, w_dim)."""

    @abstractmethod
    def style_weights(self, row: int) -> Tensor:
        """Run-time weights (styles, w_dim) of the affine layers that turn a row of w_plus into styles."""

    @abstractmethod
    def convolutions(self, key: int) -> list[nn.Parameter]:
        """Weights and biases of the convolutions of a block, which tuning to a photo may change."""

    @classmethod
    @abstractmethod
    def rows_at(cls, size: int) -> int:
        """`num_ws` of a generator whose pictures have this size."""

    # Pictures

    @abstractmethod
    def start(self, w_plus: Tensor, noise: Noise) -> Features:
        """Everything before the first block with a tap. w_plus (B, num_ws, w_dim)."""

    @abstractmethod
    def advance(self, features: Features, w_plus: Tensor, key: int) -> Tensor:
        """First half of a block: what comes before the noise, bias and activation of its first styled convolution.

        Returns feature maps (B, C, S, S) with the channels and the side of `taps[key]`; SAMM aligns them.
        """

    @abstractmethod
    def finish(self, x: Tensor, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Features:
        """Second half of a block. x: output of `advance`, aligned or not; features: input of the block."""

    def run(self, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Features:
        """Runs a whole block without alignment; families may override it with something faster."""
        return self.finish(self.advance(features, w_plus, key), features, w_plus, key, noise)

    def conclude(self, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Tensor:
        """Runs the last block without alignment and makes the picture; families may have a faster version."""
        return self.image(self.run(features, w_plus, key, noise), w_plus)

    @abstractmethod
    def image(self, features: Features, w_plus: Tensor) -> Tensor:
        """Output of the last block → picture (B, 3, size, size) in about [−1, 1], float32."""

    # Files

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor arguments for a generator of the same sizes; plain values for JSON."""

    @classmethod
    @abstractmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:
        """Constructor arguments, from the renamed tensors of a foreign file and its settings.

        Raises:
            ValueError: the network is not complete.
        """

    @classmethod
    def supplied(cls, state: State) -> Supplied | None:  # noqa: ARG003
        """Buffers that some published files lack, for the renamed state of a foreign file; None if it has all."""
        return None


def draw_noise(source: torch.Generator | tuple[torch.Generator, ...], batch: int, size: int) -> Tensor:
    """Normal noise (batch, 1, size, size), on the generators' device.

    Raises:
        ValueError: there are generators for another number of samples.
    """
    if isinstance(source, torch.Generator):
        return torch.randn((batch, 1, size, size), generator=source, device=source.device)
    if len(source) != batch:
        raise ValueError(f"{len(source)} noise generators for a batch of {batch}")
    return torch.cat([torch.randn((1, 1, size, size), generator=g, device=g.device) for g in source])


def map_latents(generator: Generator, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
    """z (B, z_dim) → w (B, w_dim), pulled towards the average by w_avg + ψ·(w − w_avg)."""
    w = generator.map(z)
    return w if truncation_psi == 1.0 else generator.w_avg.lerp(w, truncation_psi)


@torch.no_grad()
def whitening(generator: Generator) -> Tensor:
    """Principal axes of W times their standard deviations, as rows, (w_dim, w_dim).

    Those of a generator without a mapping network are the unit vectors.
    """
    if not generator.has_mapping:
        return torch.eye(generator.w_dim, device=generator.w_avg.device)
    rng = torch.Generator().manual_seed(WHITENING_SEED)
    z = torch.randn(WHITENING_SAMPLES, generator.z_dim, generator=rng).to(generator.w_avg.device)
    centred = torch.cat([map_latents(generator, some) for some in z.split(2048)]) - generator.w_avg
    axes, variances, _ = torch.linalg.svd(centred.T @ centred / len(centred))
    rows: Tensor = (axes * variances.sqrt()).T
    return rows


def whiten(offsets: Tensor, axes: Tensor) -> Tensor:
    """Differences of codes (..., w_dim) in the coordinates of the axes of `whitening`; the inverse is `@ axes`."""
    whitened: Tensor = torch.linalg.solve(axes, offsets, left=False)
    return whitened

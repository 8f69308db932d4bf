"""The interface of encoders: pictures in, latent codes and feature maps out.

A family is a subclass of `Encoder` in a file of its own and one line in `ENCODERS` of this package's `__init__`. It
brings everything along that is its own: arithmetic, the layouts of its weight files, sizes read off tensors, the fields
of its model card and of its training recipe.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from oodinv.models.generators.base import Generator
from oodinv.models.naming import Layout, Rules, Settings, State
from oodinv.records import Strict


@dataclass(frozen=True)
class Encoding:
    """An encoder's view of a batch of images.

    w_plus (B, num_ws, w_dim); features {key of a generator's block: (B, C_tap, S, S)}, as they leave the backbone: SAMM
    projects them to its own channels. noise: offsets of noise maps, as in `PhotoNoise`; most encoders give none.
    """

    w_plus: Tensor
    features: dict[int, Tensor]
    noise: Mapping[int, Tensor] = field(default_factory=dict)


class EncoderCard(Strict):
    """The `encoder:` of a model card: its family, its file, and one with the average latent where that file has none.

    Fields that a family adds are arguments of its constructor.
    """

    kind: str
    weights: str
    average: str | None = None

    @classmethod
    def options(cls) -> set[str]:
        """Names of the fields that are arguments of the family's constructor."""
        return set(cls.model_fields) - set(EncoderCard.model_fields)

    def settings(self) -> dict[str, Any]:
        """Arguments of the family's constructor that the card sets."""
        return self.model_dump(include=self.options())


class EncoderPlan(Strict):
    """The `encoder:` of a training recipe: the family, and the arguments of its constructor that it leaves open."""

    kind: str

    def settings(self) -> dict[str, Any]:
        """Arguments of the family's constructor."""
        return self.model_dump(exclude={"kind"})

    def check(self, size: int) -> None:
        """Raises ValueError for a plan that doesn't fit pictures of `size` px."""


class Encoder(nn.Module, ABC):
    """An encoder network.

    num_ws, w_dim: shape of w_plus. tap_channels: number of channels of each feature map that it gives to SAMM, by the
    key of the generator's block that the map is for (`Generator.taps`). w_avg (num_ws, w_dim) or (w_dim,): the code
    that the first pass starts from. passes: how often it looks at a picture. noise_channels: number of channels of the
    noise that it predicts, by the block's key.
    """

    kind: ClassVar[str]
    """Name of the family in cards, recipes and our own weight files."""
    mark: ClassVar[str]
    """Regular expression that matches a parameter's name, as in `state_dict`, of this family.

    It tells which family a file of oodinv holds; of several that match, the first in `ENCODERS` is taken.
    """
    layouts: ClassVar[tuple[Layout, ...]] = ()
    """Layouts of weight files that hold this family."""
    names: ClassVar[Rules] = ()
    """Names of the parameters inside files that hold other networks too."""
    card: ClassVar[type[EncoderCard]] = EncoderCard
    plan: ClassVar[type[EncoderPlan]] = EncoderPlan

    num_ws: int
    w_dim: int
    tap_channels: dict[int, int]
    w_avg: Tensor
    passes: int = 1
    noise_channels: Mapping[int, int] = MappingProxyType({})

    @abstractmethod
    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:
        """One pass over image (B, 3, H, W) in [−1, 1], from the codes w_plus (B, num_ws, w_dim) found so far."""

    def average(self, batch: int) -> Tensor:
        """The codes (batch, num_ws, w_dim) that the first pass starts from."""
        return self.w_avg.expand(batch, self.num_ws, self.w_dim)

    def encode(self, image: Tensor, generator: Generator) -> Encoding:
        """All passes. image (B, 3, H, W) in [−1, 1] → w_plus, features of the last pass, and noise, if any."""
        encoding = Encoding(self.average(image.shape[0]), {})
        for _ in range(self.passes):
            encoding = self.refine(image, encoding.w_plus, generator)
        return encoding

    def prepared(self, generator: Generator) -> Self:  # noqa: ARG002
        """The same encoder for inference with one generator: what no image changes may be computed beforehand."""
        return self

    # Files

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor that make another one of the same sizes; plain values for JSON."""
        return {"num_ws": self.num_ws, "w_dim": self.w_dim, **self.settings()}

    def settings(self) -> dict[str, Any]:
        """Values of the card's fields that this family alone has, by name."""
        return {name: getattr(self, name) for name in self.card.options()}

    @classmethod
    @abstractmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:
        """Arguments of the constructor, read off the tensors of a foreign file in our names, and off its settings.

        Raises:
            ValueError: the network is not complete, or there are no foreign files of this family.
        """

    # Training

    def face_backbone(self) -> nn.Module | None:
        """The part that is an IR-SE-50, so that it may start from a face-recognition network; None without one."""
        return None

    def noise_part(self) -> nn.Module | None:
        """The part that predicts noise, so that it may be trained by itself; None without one."""
        return None

    @classmethod
    def planned(cls, plan: EncoderPlan, generator: Generator) -> Self:
        """An encoder with random weights for a generator, starting from its average latent."""
        encoder = cls(**cls.sizes_for(generator), **plan.settings())
        with torch.no_grad():
            encoder.w_avg.copy_(generator.w_avg.expand_as(encoder.w_avg))
        return encoder

    @classmethod
    def sizes_for(cls, generator: Generator) -> dict[str, Any]:
        """Arguments of the constructor that a generator determines."""
        return {"num_ws": generator.num_ws, "w_dim": generator.w_dim}

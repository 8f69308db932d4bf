"""The ReStyle encoder with e4e's backbone: several passes, each of which corrects the last one.

Source: "ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement" (Alaluf et al., ICCV 2021).
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor

from oodinv.models.encoders.backbones import INPUT_SIZE, IR_SE_50, TAP_CHANNELS, Backbone
from oodinv.models.encoders.base import Encoder, EncoderCard, EncoderPlan, Encoding
from oodinv.models.encoders.style_heads import ENCODER_FILE, IR_SE_ENCODER, predict_rows, style_heads
from oodinv.models.generators.base import Generator
from oodinv.models.naming import Layout, Settings, State, numbers, shape
from oodinv.models.synthesis import synthesize

HEAD_MAP = 16
"""All heads use the 16² map."""


class RestyleCard(EncoderCard):
    """The ReStyle encoder with an e4e backbone; `passes` refinements."""

    passes: PositiveInt = 5


class RestylePlan(EncoderPlan):
    """A ReStyle encoder to train; `passes` refinements, in training too."""

    passes: PositiveInt = 5


class Restyle(Encoder):
    """Image and reconstruction → w_plus. `w_avg` (num_ws, w_dim) is where the first pass starts."""

    kind = "restyle"
    mark = r"heads\.0\.linear\.weight"
    layouts = (
        Layout(
            "restyle-e4e",
            r"state_dict\.encoder\.styles\.0\.convs\.0\.weight",
            ENCODER_FILE,
            "ProgressiveBackboneEncoder",
        ),
    )
    names = IR_SE_ENCODER
    card, plan = RestyleCard, RestylePlan

    def __init__(self, *, num_ws: int, w_dim: int = 512, passes: int = 5) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        self.passes = passes
        self.tap_channels = dict(TAP_CHANNELS)
        self.backbone = Backbone(6, IR_SE_50)
        self.heads = style_heads([HEAD_MAP] * num_ws, w_dim)
        self.register_buffer("w_avg", torch.zeros(num_ws, w_dim))

    def correct(self, image: Tensor, reconstruction: Tensor, w_plus: Tensor) -> Encoding:
        """image, reconstruction (B, 3, 256, 256), w_plus (B, num_ws, w_dim) → a better w_plus."""
        maps = self.backbone(torch.cat([image, reconstruction], dim=1))
        offsets = predict_rows(self.heads, [maps[HEAD_MAP]] * len(self.heads))
        return Encoding(w_plus + offsets, {size: maps[size] for size in self.tap_channels})

    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:
        """One pass, which compares the image with the picture of the current codes; gradients stay within it.

        The picture is generated without noise, which latents can't change.
        """
        with torch.no_grad():
            generated = synthesize(generator, w_plus, "zero")
            reconstruction = F.adaptive_avg_pool2d(generated, INPUT_SIZE)
        return self.correct(F.adaptive_avg_pool2d(image, INPUT_SIZE), reconstruction, w_plus)

    def face_backbone(self) -> Backbone:
        """The IR-SE-50."""
        return self.backbone

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        """One row of w_plus for each head."""
        return {"num_ws": len(numbers(state, r"heads\.(\d+)\..*")), "w_dim": shape(state, "heads.0.linear.bias")[0]}

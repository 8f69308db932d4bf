"""Distances of drawn faces to photos, as encoders are trained with."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from oodinv.faces.geometry import inner_box
from oodinv.models.perceptors.dlib_face import DlibFace, face_of
from oodinv.models.perceptors.lpips import Lpips
from oodinv.training import losses


class FidelityWeights(Protocol):
    """Weights of LPIPS, of LPIPS of the inner face, of L2 and of the squared distance of dlib's descriptors."""

    @property
    def lpips(self) -> float: ...
    @property
    def inner(self) -> float: ...
    @property
    def l2(self) -> float: ...
    @property
    def identity(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Fidelity:
    """The networks of these distances, and `crop.scale` of the photos."""

    lpips: Lpips
    recognition: DlibFace
    crop_scale: float

    def terms(self, drawn: Tensor, images: Tensor, weights: FidelityWeights) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each distance between drawn pictures (B, 3, s, s) and images (B, 3, S, S), S ≥ s."""
        wanted = F.adaptive_avg_pool2d(images, drawn.shape[-1])
        with torch.no_grad():
            person = self.recognition(face_of(images, self.crop_scale))
        apart = (self.recognition(face_of(drawn, self.crop_scale)) - person).square().sum(dim=1)
        terms = {
            "lpips": (weights.lpips, losses.lpips_each(self.lpips, drawn, wanted).mean()),
            "l2": (weights.l2, (drawn - wanted).square().mean()),
            "identity": (weights.identity, apart.mean()),
        }
        if weights.inner:
            left, top, right, bottom = inner_box(drawn.shape[-1], self.crop_scale)
            faces = (picture[:, :, top:bottom, left:right] for picture in (drawn, wanted))
            terms["inner"] = (weights.inner, losses.lpips_each(self.lpips, *faces).mean())
        return terms

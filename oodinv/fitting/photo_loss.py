"""Distance of generated pictures to a photo, as refinement and tuning minimise it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from oodinv.faces.geometry import inner_box
from oodinv.models.ops import average_resize
from oodinv.models.perceptors.dlib_face import DlibFace, face_of
from oodinv.models.perceptors.lpips import Lpips, perceptual_size
from oodinv.weights.build import Model, load_dlib_face, load_lpips

PREVIEW_SIZE, WHOLE_SIZE = 256, 512
"""Sides in pixels at which previews and whole pictures are compared: pictures that are right at 256 px may have crooked
irises and cracked skin in full size.
"""
INNER, IDENTITY = 0.5, 0.5
"""Weights of LPIPS of the inner face, and of the squared distance of dlib's descriptors, beside that of LPIPS."""


@dataclass(frozen=True, eq=False)
class Perception:
    """Networks that compare pictures, and `crop.scale` of the model's card."""

    lpips: Lpips
    recognition: DlibFace
    crop_scale: float = 1.0

    def features(self, picture: Tensor) -> list[Tensor]:
        """LPIPS's features of pictures (B, 3, S, S)."""
        return self.lpips.features(perceptual_size(picture))

    def describe(self, picture: Tensor) -> Tensor:
        """dlib's descriptors of pictures (B, 3, S, S) → (B, 128)."""
        descriptors: Tensor = self.recognition(face_of(picture, self.crop_scale))
        return descriptors


def perception_for(model: Model) -> Perception:
    """Loads the networks for a model's pictures, on its device.

    Raises:
        WeightsError: LPIPS or dlib's network can't be downloaded.
    """
    device = model.generator.w_avg.device
    return Perception(load_lpips("alexnet").to(device), load_dlib_face().to(device), model.card.crop.scale)


class PhotoLoss:
    """Distance to photos (B, 3, H, W) in [−1, 1], compared at a side of at most `size` pixels; l2: weight of L2."""

    def __init__(self, perception: Perception, image: Tensor, size: int, l2: float) -> None:
        self.perception, self.l2 = perception, l2
        self.wanted = average_resize(image, min(size, image.shape[-1]))
        self.box = inner_box(self.wanted.shape[-1], perception.crop_scale)
        with torch.no_grad():
            self.features = perception.features(self.wanted)
            self.inner_features = perception.features(self.inner(self.wanted))
            self.person = perception.describe(self.wanted)

    def inner(self, picture: Tensor) -> Tensor:
        """Crops the inner face from pictures (B, 3, S, S)."""
        left, top, right, bottom = self.box
        return picture[:, :, top:bottom, left:right]

    def __call__(self, picture: Tensor) -> Tensor:
        """Distance of each picture (B, 3, S, S) → (B,)."""
        perception = self.perception
        picture = average_resize(picture, self.wanted.shape[-1])
        each: Tensor = (
            perception.lpips.distance(perception.features(picture), self.features)
            + INNER * perception.lpips.distance(perception.features(self.inner(picture)), self.inner_features)
            + IDENTITY * (perception.describe(picture) - self.person).square().sum(dim=1)
            + self.l2 * (picture - self.wanted).square().mean(dim=(1, 2, 3))
        )
        return each

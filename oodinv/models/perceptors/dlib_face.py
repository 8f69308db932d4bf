"""dlib's face recognition network: descriptors of faces for identity losses.

Source: dlib's `dnn_face_recognition_ex.cpp` and the network `dlib_face_recognition_resnet_model_v1` (King 2017, CC0).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.dlib_trunk import STAGES, DlibTrunk

FEATURES = 128
FACE_SIZE = 150
"""Side in pixels of the network's input."""
FACE_BOX = (28 / 256, 32 / 256, 228 / 256, 232 / 256)
"""Left, top, right and bottom of the face in an FFHQ crop, as fractions of its side."""


class DlibFace(nn.Module):
    """The whole network: descriptors of faces, with distances below 0.6 for the same person."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = DlibTrunk()
        self.project = nn.Linear(STAGES[-1][1], FEATURES, bias=False)

    def forward(self, face: Tensor) -> Tensor:
        """face (B, 3, 150, 150) in [−1, 1] → descriptors (B, 128)."""
        return self.project(self.trunk.pooled(face))  # type: ignore[no-any-return]

    def load_layers(self, layers: Sequence[tuple[str, Tensor]]) -> None:
        """See `DlibTrunk.load_layers`."""
        self.trunk.load_layers(layers)
        values = layers[-1][1]
        if values.numel() != self.project.weight.numel():
            raise ValueError("the last layer has another size than in dlib's face recognition network")
        with torch.no_grad():
            self.project.weight.copy_(values.view(self.project.in_features, FEATURES).T)


def face_of(image: Tensor, crop_scale: float = 1.0) -> Tensor:
    """Crops the face as dlib frames it from aligned crops. (B, 3, S, S) → (B, 3, 150, 150), anti-aliased.

    The box approximates dlib's face chips. crop_scale: `crop.scale` of the crops.
    """
    size = image.shape[-1]
    left, top, right, bottom = (round(size * (0.5 + (share - 0.5) / crop_scale)) for share in FACE_BOX)
    face = image[..., max(top, 0) : bottom, max(left, 0) : right]
    enlarged = face.shape[-1] < FACE_SIZE
    return F.interpolate(
        face, size=(FACE_SIZE, FACE_SIZE), mode="bilinear", antialias=not enlarged, align_corners=False
    )

"""ArcFace with the IR-SE-50 backbone: embeddings of faces, similar for the same person.

Source: "ArcFace" (Deng et al., CVPR 2019).
"""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.faces.geometry import inner_box
from oodinv.models.encoders.backbones import IR_SE_50, STAGES, Backbone
from oodinv.models.ops import resize

FACE_SIZE = 112
"""Side of the face crop that the network was trained on."""

EMBEDDING = 512
LAST_MAP = 7


def inner_face(images: Tensor, crop_scale: float) -> Tensor:
    """Crops the inner face and averages it down to the network's input, as the published identity loss does.

    images (B, 3, S, S), FFHQ-aligned; crop_scale: `crop.scale` of the faces → (B, 3, 112, 112). Smaller faces are
    enlarged bilinearly.
    """
    left, top, right, bottom = inner_box(images.shape[-1], crop_scale)
    face = images[..., top:bottom, left:right]
    return F.adaptive_avg_pool2d(face, FACE_SIZE) if face.shape[-1] >= FACE_SIZE else resize(face, FACE_SIZE)


class Recognition(nn.Module):
    """Face crop → embedding of unit length."""

    def __init__(self) -> None:
        super().__init__()
        channels = STAGES[-1][0]
        self.backbone = Backbone(3, IR_SE_50)
        self.norm_map = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels * LAST_MAP**2, EMBEDDING)
        self.norm = nn.BatchNorm1d(EMBEDDING)

    def forward(self, face: Tensor) -> Tensor:
        """face (B, 3, 112, 112) in [−1, 1] → (B, 512) of length 1."""
        last = self.backbone(face)[LAST_MAP]
        return F.normalize(self.norm(self.linear(self.norm_map(last).flatten(1))), dim=1)

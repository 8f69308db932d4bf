"""ArcFace with the IR-SE-50 backbone: a face as a point on a sphere, near those of the same person.

Source: "ArcFace" (Deng et al., CVPR 2019).
"""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.backbones import IR_SE_50, STAGES, Backbone

FACE_SIZE = 112
"""Side of the face crop that the network was trained on."""

EMBEDDING = 512
LAST_MAP = 7


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

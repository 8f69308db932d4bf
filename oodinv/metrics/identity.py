"""Identity of aligned crops: cosine similarity of face-recognition features.

SFace ("SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", Zhong et al., 2021) is run by
OpenCV, on the CPU. ArcFace ("ArcFace: Additive Angular Margin Loss", Deng et al., CVPR 2019) with the IR-SE-50
backbone is the network of the published identity losses. Similarities in the features of different networks (some
papers use CurricularFace) can't be compared with each other.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from oodinv.errors import WeightsError
from oodinv.imaging.pixels import levels_of
from oodinv.metrics.base import Measure, Metric, Setting
from oodinv.models.perceptors.arcface import Recognition, inner_face
from oodinv.weights.families import build_recognition
from oodinv.weights.pull import pull
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


class Sface:
    """SFace, read from its ONNX file; 128 features of unit length."""

    def __init__(self, path: Path, crop_scale: float = 1.0) -> None:
        """crop_scale: `crop.scale` of the model's card; it determines the position of the face in a crop.

        Raises:
            WeightsError: OpenCV can't read the file.
        """
        try:
            self._network = cv2.dnn.readNet(str(path))
        except cv2.error as error:
            raise WeightsError(f"{path}: expected SFace as ONNX, OpenCV can't read it; pull it again") from error
        self._crop_scale = crop_scale

    def embed(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) in [−1, 1], FFHQ-aligned → (B, 128), float64 of unit length, on the CPU."""
        faces = inner_face(images.float().cpu(), self._crop_scale)
        inputs = levels_of(faces).clamp(0, 255).numpy().astype(np.float32)
        features = []
        for face in inputs:  # one by one: the quantised network has a fixed batch of one
            self._network.setInput(np.ascontiguousarray(face[None]), "data")
            features.append(torch.from_numpy(np.array(self._network.forward()[0], np.float64)))
        return F.normalize(torch.stack(features), dim=1)


def arcface(network: Recognition, images: Tensor, crop_scale: float) -> Tensor:
    """images (B, 3, H, W) in [−1, 1], FFHQ-aligned → (B, 512), float64 of unit length, on their device."""
    return F.normalize(network(inner_face(images.float(), crop_scale)).double(), dim=1)


def identity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of features (B, D) of unit length → (B,), 1 for the same picture."""
    return (a * b).sum(dim=1)


def _load_sface(setting: Setting) -> Measure:
    network = Sface(pull("sface"), setting.crop_scale)
    return lambda a, b, _weight: identity(network.embed(a), network.embed(b))


def _load_arcface(setting: Setting) -> Measure:
    network = build_recognition(translate(read(pull("arcface-ir-se50")))).to(setting.device)
    return lambda a, b, _weight: identity(*(arcface(network, x, setting.crop_scale) for x in (a, b)))


IDENTITY_SFACE = Metric(
    "identity_sface",
    "ID (SFace)",
    "higher",
    3,
    "cosine similarity of SFace features of the inner face",
    _load_sface,
    regional=False,
)
IDENTITY_ARCFACE = Metric(
    "identity_arcface",
    "ID (ArcFace)",
    "higher",
    3,
    "cosine similarity of ArcFace IR-SE-50 features, inner face",
    _load_arcface,
    regional=False,
)

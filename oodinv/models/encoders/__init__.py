"""Registry of encoders: one module and one line in `ENCODERS` for each family."""

from oodinv.models.encoders.base import Encoder
from oodinv.models.encoders.e4e import E4e
from oodinv.models.encoders.face_resnet import FaceResnetEncoder
from oodinv.models.encoders.feature_style import FeatureStyle
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.encoders.restyle import Restyle

ENCODERS: tuple[type[Encoder], ...] = (
    E4e,
    Restyle,
    FeatureStyle,
    PyramidEncoder,
    FaceResnetEncoder,
)
"""Families of encoders. A state belongs to the first family whose mark matches."""

"""Encoders, a file for each family; a new one is a file here and a line in `ENCODERS`."""

from oodinv.models.encoders.base import Encoder
from oodinv.models.encoders.e4e import E4e
from oodinv.models.encoders.face_resnet import FaceResnetEncoder
from oodinv.models.encoders.feature_style import FeatureStyle
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.encoders.restyle import Restyle

ENCODERS: tuple[type[Encoder], ...] = (E4e, Restyle, FeatureStyle, PyramidEncoder, FaceResnetEncoder)
"""Every family of encoders. A state is taken for that of the first family whose mark it has."""

"""Eyes, nose and mouth; what surrounds them only moves along."""

from oodinv.compositing.regions.base import Change, Region
from oodinv.compositing.tones import deep_kept
from oodinv.faces.geometry import face_weight, features_weight
from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred

TOGETHER = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur of the movement around features: a jaw or a wrinkle
beside an ear that is kept does not bend."""


class Features(Region):
    """Changes eyes, nose and mouth."""

    def reach(self, size: int, crop_scale: float) -> Mask:
        """1 on the face, where things may move, falling to 0 around the hair."""
        return face_weight(size, crop_scale)

    def limit(self, change: Change) -> Levels:
        """Changes the features; around them the unedited composite is moved by the flow."""
        still = moved(change.before, change.flow)
        weight = features_weight(still.shape[0], change.crop_scale)
        return still + weight[..., None] * deep_kept(still, change.after - still)

    def free(self, flow: Flow) -> Flow:
        """The movement, smoothed."""
        return blurred(flow, TOGETHER * flow.shape[0])


REGION = Features()

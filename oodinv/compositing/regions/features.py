"""Region of eyes, nose and mouth; their surroundings are only warped."""

from oodinv.compositing.regions.base import EditedCrop, Region
from oodinv.compositing.tones import spare_shadows
from oodinv.faces.geometry import face_weight, features_weight
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred

SMOOTHING = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur of the flow, which prevents bends in a jaw or a
wrinkle beside a masked ear."""


class Features(Region):
    """Region of eyes, nose and mouth."""

    def weight(self, size: int, crop_scale: float) -> Mask:
        """1 on the face, which may be warped, falling to 0 around the hair, (size, size)."""
        return face_weight(size, crop_scale)

    def limit(self, edit: EditedCrop) -> Levels:
        """Applies the edit to the features; around them the unedited composite is warped by the flow."""
        warped = warp(edit.before, edit.flow)
        weight = features_weight(warped.shape[0], edit.crop_scale)
        return warped + weight[..., None] * spare_shadows(warped, edit.after - warped)

    def smoothed_flow(self, flow: Flow) -> Flow:
        """Blurs the flow (S, S, 2) by SMOOTHING."""
        return blurred(flow, SMOOTHING * flow.shape[0])


REGION = Features()

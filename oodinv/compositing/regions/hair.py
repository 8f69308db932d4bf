"""Region of the hair."""

from oodinv.compositing.regions.base import FlowKind, Region


class Hair(Region):
    """Region of the hair, which changes and does not move: optical flow between two drawings of strands is noise."""

    parts = ("hair",)

    def flow_kind(self, restores_residual: bool) -> FlowKind | None:  # noqa: ARG002
        """Returns None."""
        return None


REGION = Hair()

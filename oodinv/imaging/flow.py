"""Flow fields: warping of pictures, resizing, and display in colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Flow, Pixels


def resize_flow(flow: Flow, size: int) -> Flow:
    """Resizes a flow (s, s, 2) to the pixels of a crop with this size. → (size, size, 2)."""
    if flow.shape[0] == size:
        return flow
    scale = size / flow.shape[0]
    return np.asarray(cv2.resize(flow, (size, size), interpolation=cv2.INTER_LINEAR) * scale, dtype=np.float32)


def warp(picture: NDArray[np.float32], flow: Flow | None) -> NDArray[np.float32]:
    """Warps a picture (H, W) or (H, W, C) backwards by a flow (H, W, 2) in pixels; None: unchanged."""
    if flow is None:
        return picture
    row, column = np.indices(flow.shape[:2], dtype=np.float32)
    sampled = cv2.remap(
        picture, column + flow[..., 0], row + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(sampled, dtype=np.float32)


def colour_wheel() -> NDArray[np.float64]:
    """Colours of 55 directions, (55, 3) in [0, 255]: red, yellow, green, cyan, blue, magenta in unequal steps.

    Source: Baker et al., "A database and evaluation methodology for optical flow" (2011), the Middlebury code.
    """
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], dtype=np.float64)
    steps = (15, 6, 4, 11, 13, 6)
    arcs = []
    for number, count in enumerate(steps):
        share = (np.floor(255 * np.arange(count) / count) / 255)[:, None]
        arcs.append(corners[number] + share * (corners[(number + 1) % 6] - corners[number]))
    return 255 * np.concatenate(arcs)


def flow_colours(flow: NDArray[np.floating], largest: float | None = None) -> Pixels:
    """Draws a flow (2, H, W) of dx, dy in colours, uint8 (H, W, 3): hue is direction, white is no motion.

    Full saturation at a length of `largest`, the flow's own maximum by default; longer ones are darkened.
    """
    dx, dy = flow.astype(np.float64)
    length = np.hypot(dx, dy)
    scale = float(length.max()) if largest is None else largest
    length = length / max(scale, 1e-9)
    wheel = colour_wheel() / 255
    turn = (np.arctan2(-dy, -dx) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(turn).astype(int)
    share = (turn - low)[..., None]
    colour = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    radius = length[..., None]
    colour = np.where(radius <= 1, 1 - radius * (1 - colour), 0.75 * colour)
    return np.asarray(np.floor(255 * colour), dtype=np.uint8)

"""Positions of the parts of a face in a crop aligned as FFHQ's are: eyes at 0.47 and mouth at 0.75 of the height."""

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Mask, smoothstep

Ellipse = tuple[tuple[float, float], tuple[float, float]]
"""Centre, and half the width and height, as fractions of an FFHQ crop's side."""
FACE: Ellipse = ((0.5, 0.53), (0.29, 0.40))
"""Part of the face that an edit may change without restriction."""
FEATURES: tuple[Ellipse, Ellipse] = (((0.5, 0.53), (0.19, 0.27)), ((0.5, 0.745), (0.13, 0.07)))
"""Eyes, nose and mouth; and the corners of the mouth."""
SKIN: Ellipse = ((0.5, 0.58), (0.22, 0.28))
"""Skin from brows to chin, where masks should be 0 if nothing covers it; lower than FACE, which includes hair."""
SKULL = (0.34, 0.48, 0.38)
"""Half the width, height and depth of a head, as fractions of an FFHQ crop's side, which is four eye distances."""
NOSE = (0.042, 0.09, 0.035, 0.09)
"""Extent of the nose from its tip: to either side, up, down and forward; same unit."""
NOSE_TIP = (0.5, 0.61)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of an FFHQ crop's side."""
INNER: Box = (32 / 256, 35 / 256, 220 / 256, 223 / 256)
"""The inner face. Source: the identity loss of pixel2style2pixel and encoder4editing, rows 35 to 223 and columns 32 to
220 of 256."""
REGIONS: dict[str, tuple[Box, ...]] = {
    "hair": ((0.38, 0.08, 0.62, 0.18),),
    "forehead": ((0.36, 0.2, 0.64, 0.3),),
    "light": ((0.36, 0.5, 0.64, 0.66),),
    "background": ((0.0, 0.05, 0.07, 0.5), (0.93, 0.05, 1.0, 0.5)),
}
"""Boxes in which the luma of hair, forehead, cheeks and background is measured."""

_FADE = 1.35  # the weight is 0 from this multiple of the ellipse on


def places(size: int, crop_scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x (size,) and y (size, 1) of the pixels of a crop, as fractions of the FFHQ crop's side."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    place = np.asarray(0.5 + crop_scale * (centres - 0.5), dtype=np.float32)
    return place, place[:, None]


def face_weight(size: int, crop_scale: float, ellipse: Ellipse = FACE) -> Mask:
    """Weight (size, size): 1 on the face of a crop, or on another ellipse, falling to 0 around it.

    crop_scale: see `framing.ffhq_quad`.
    """
    x, y = ((p - c) / half for p, c, half in zip(places(size, crop_scale), *ellipse, strict=True))
    distance = np.hypot(x, y)
    return smoothstep(np.asarray((_FADE - distance) / (_FADE - 1), dtype=np.float32))


def features_weight(size: int, crop_scale: float) -> Mask:
    """Weight (size, size): 1 on eyes, nose and mouth, falling to 0 around them."""
    return np.maximum(*(face_weight(size, crop_scale, ellipse) for ellipse in FEATURES))


def inner_box(size: int, crop_scale: float = 1.0) -> tuple[int, int, int, int]:
    """Box INNER in pixels of a crop (size, size)."""
    left, top, right, bottom = (round(size * min(max(0.5 + (edge - 0.5) / crop_scale, 0.0), 1.0)) for edge in INNER)
    return left, top, right, bottom


def head_depth(size: int, crop_scale: float) -> NDArray[np.float32]:
    """Depth of a head in front of its outline at the pixels of a crop (size, size), in sides of the FFHQ crop.

    SKULL · (1 − d²)^1.5 at a fraction d of the way from the middle to the outline, plus NOSE; flatter at the outline
    than an ellipsoid, so that the turned head joins its surroundings smoothly.
    """
    x, y = places(size, crop_scale)
    width, height, deep = SKULL
    across = ((x - FACE[0][0]) / width) ** 2 + ((y - FACE[0][1]) / height) ** 2
    aside, up, down, forwards = NOSE
    slope = ((x - NOSE_TIP[0]) / aside) ** 2 + ((y - NOSE_TIP[1]) / np.where(y < NOSE_TIP[1], up, down)) ** 2
    return np.asarray(deep * (1 - across).clip(0) ** 1.5 + forwards * np.exp(-slope / 2), dtype=np.float32)

"""Parts of a face in a crop: label maps, and weights made of them.

The classes are those of CelebAMask-HQ ("MaskGAN: Towards Diverse and Interactive Facial Image Manipulation", Lee et
al., CVPR 2020), with left and right, and both lips, as one.
"""

from collections.abc import Iterable
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Mask, blurred

Part = Literal["background", "skin", "nose", "glasses", "eye", "brow", "ear", "mouth", "lip", "hair", "hat", "earring",
               "necklace", "neck", "cloth"]  # fmt: skip
"""Name of a part. The mouth is what the lips enclose."""
PARTS: tuple[Part, ...] = get_args(Part)
"""Names of the parts; a label map holds their indices."""
FACE_PARTS: tuple[Part, ...] = ("skin", "nose", "eye", "brow", "ear", "mouth", "lip")
"""Parts of a face without its hair."""

PartMap = NDArray[np.uint8]
"""Label map of a crop, (s, s), indices in PARTS."""

SOFTNESS = 1 / 128
"""Standard deviation, as a share of the crop's side, of the blur that softens the border of a weight."""

ISLANDS: dict[Part, float] = {"skin": 1 / 500, "hair": 1 / 500, "hat": 1 / 50}
"""Parts that come in large pieces, and the share of a label map below which a piece is taken for a mistake."""


def without_islands(parts: PartMap) -> PartMap:
    """Gives small pieces of skin, hair and hat the label that is most frequent around them. → label map (s, s)."""
    found = parts.copy()
    for name, share in ISLANDS.items():
        count, pieces, stats, _ = cv2.connectedComponentsWithStats((parts == PARTS.index(name)).astype(np.uint8))
        for piece in range(1, count):
            if stats[piece, cv2.CC_STAT_AREA] < share * parts.size:
                inside = (pieces == piece).astype(np.uint8)
                around = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > inside
                found[inside > 0] = np.bincount(parts[around], minlength=len(PARTS)).argmax()
    return found


def part_weight(parts: PartMap, names: Iterable[str], size: int, reach: float = 0.0) -> Mask:
    """Weight of some parts at each pixel of a crop, (size, size) in [0, 1], with soft borders.

    reach: distance by which the parts are enlarged first, as a share of the crop's side.
    """
    chosen = np.isin(parts, [PARTS.index(name) for name in names]).astype(np.float32)
    if reach and (margin := round(reach * len(parts))):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
        chosen = np.asarray(cv2.dilate(chosen, kernel), dtype=np.float32)
    enlarged = np.asarray(cv2.resize(chosen, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return blurred(enlarged, SOFTNESS * size)

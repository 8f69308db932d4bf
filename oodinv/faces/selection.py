"""Which of the faces in a photo to work on, and why the others are left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.faces.crop import crop
from oodinv.faces.detectors.base import Face
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import quad_side
from oodinv.imaging.pixels import Pixels, luma

SAME_PERSON = 0.363
"""Smallest cosine similarity of SFace features of the same person (OpenCV's threshold)."""
BLURRED = 0.25
"""A face with less than this share of a larger face's sharpness is a blurred passer-by."""
_SHARPNESS_SIZE = 128  # pixels of the crop in which sharpness is measured: finer detail than this doesn't count
_ROUNDING = 0.1  # squared grey levels: what rounding to whole levels adds to fine detail
_REFERENCE_SIZE = 256  # pixels of the crops that are compared with a reference photo
_CUT_OFF = 0.05  # of the quad's side: faces with points farther outside the photo than this are refused
_POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")


@dataclass(frozen=True, eq=False)
class Likeness:
    """A person to look for.

    embed: features (D,) of unit length of an FFHQ crop uint8 (S, S, 3), such as SFace's. references (N, D): features
    of photos of the person. A face is the person if its cosine similarity with one of them reaches `threshold`.
    """

    embed: Callable[[Pixels], NDArray[np.floating]]
    references: NDArray[np.floating]
    threshold: float = SAME_PERSON

    def similarity(self, pixels: Pixels, face: Face) -> float:
        """Cosine similarity of a face in a photo uint8 (H, W, 3) with the reference nearest to it."""
        return float((self.references @ self.embed(crop(pixels, ffhq_quad(face.points), _REFERENCE_SIZE))).max())


@dataclass(frozen=True)
class Selection:
    """Filters that choose the faces to work on. A face must pass every filter; at most `faces` of them are used.

    faces: all of them, or the largest N; `largest` means one. min_size: side of the FFHQ crop in photo pixels.
    min_score: the detector's, in [0, 1]. min_sharpness: share of the sharpness of the sharpest face that is at least
    as large; 0 keeps blurred passers-by. indices: numbers of faces from left to right, counted from 0 over all faces
    found. like: a person. cut_off: also take faces of which the photo doesn't show all eyes, nose and mouth.

    Raises:
        ValueError: `faces` is neither of these words nor a number from 1.
    """

    faces: Literal["all", "largest"] | int = "all"
    min_size: float = 0.0
    min_score: float = 0.0
    min_sharpness: float = BLURRED
    indices: frozenset[int] | None = None
    like: Likeness | None = None
    cut_off: bool = False

    def __post_init__(self) -> None:
        if self.faces not in ("all", "largest") and not (isinstance(self.faces, int) and self.faces >= 1):
            raise ValueError(f"faces is all, largest, or a number from 1, and not {self.faces!r}")


ALL = Selection()
LARGEST = Selection(faces="largest")


@dataclass(frozen=True, eq=False)
class Dropped:
    """A face that was found and left out. index: its number from left to right over all faces found, from 0."""

    index: int
    face: Face
    reason: str


def select(pixels: Pixels, faces: Sequence[Face], selection: Selection) -> tuple[list[Face], list[Dropped]]:
    """Splits the faces of a photo uint8 (H, W, 3), both parts in the order given, which is from left to right."""
    reasons = _reasons(pixels, faces, selection)
    kept = [index for index in range(len(faces)) if index not in reasons]
    if selection.faces != "all":
        count = 1 if selection.faces == "largest" else selection.faces
        by_size = sorted(kept, key=lambda index: -face_size(faces[index]))
        reasons |= {index: f"smaller than the {_counted(count)} asked for" for index in by_size[count:]}
    dropped = [Dropped(index, faces[index], reasons[index]) for index in sorted(reasons)]
    return [face for index, face in enumerate(faces) if index not in reasons], dropped


def _counted(count: int) -> str:
    return "one face" if count == 1 else f"{count} faces"


def _reasons(pixels: Pixels, faces: Sequence[Face], wanted: Selection) -> dict[int, str]:
    """Why faces are left out one by one, by index; the first reason of each."""
    reasons: dict[int, str] = {}
    for index, face in enumerate(faces):
        reason = _reason(pixels, index, face, wanted)
        if reason is not None:
            reasons[index] = reason
    if wanted.min_sharpness > 0 and len(faces) - len(reasons) > 1:
        rest = [index for index in range(len(faces)) if index not in reasons]
        sharp = {index: sharpness(pixels, faces[index]) for index in rest}
        for index in rest:
            size = face_size(faces[index])
            best = max(sharp[other] for other in rest if face_size(faces[other]) >= size)
            if sharp[index] < wanted.min_sharpness * best:
                reasons[index] = f"blurred: {sharp[index] / best:.0%} as sharp as the main face"
    return reasons


def _reason(pixels: Pixels, index: int, face: Face, wanted: Selection) -> str | None:
    if wanted.indices is not None and index not in wanted.indices:
        return "another face was chosen by its number"
    hidden = outside(face, pixels, _CUT_OFF)
    if hidden and not wanted.cut_off:
        return f"cut off by the photo's border, which leaves out {' and '.join(hidden)}"
    if face_size(face) < wanted.min_size:
        return f"{face_size(face):.0f} px wide, less than {wanted.min_size:g}"
    if face.score < wanted.min_score:
        return f"score {face.score:.2f}, less than {wanted.min_score:g}"
    if wanted.like is not None:
        similarity = wanted.like.similarity(pixels, face)
        if similarity < wanted.like.threshold:
            return f"another person: similarity {similarity:.2f}, less than {wanted.like.threshold:g}"
    return None


def face_size(face: Face) -> float:
    """Side of a face's FFHQ crop in photo pixels."""
    return quad_side(ffhq_quad(face.points))


def outside(face: Face, pixels: Pixels, share: float = 0.0) -> tuple[str, ...]:
    """Names of the landmarks outside the photo (H, W, 3), which detectors can only guess.

    share: margin around the photo within which points count as inside, as a share of the side of the face's crop.
    """
    margin = share * face_size(face)
    beyond = np.maximum(-face.points, face.points - pixels.shape[1::-1]).max(axis=1)
    return tuple(name for name, distance in zip(_POINTS, beyond, strict=True) if distance > margin)


def sharpness(pixels: Pixels, face: Face) -> float:
    """Sharpness of a face in a photo uint8 (H, W, 3), in [0, 1]: 1 for a sharp one, whatever its size.

    The root of the ratio of energy in two neighbouring bands of detail (blurs of 0, 1 and 2 pixels), in which contrast
    and exposure cancel out; pixels are those of the photo or of a 128 px crop, whichever are coarser. On 23 portraits
    the ratio is 1.0 to 1.6 and falls to 0.5 as they are blurred: Gaussian blur of 0.5, 1 and 2 % of the crop's side
    gives a sharpness of about 0.6, 0.2 and 0.
    """
    quad = ffhq_quad(face.points, 0.6)
    size = int(np.clip(quad_side(quad), 16, 0.6 * _SHARPNESS_SIZE))
    grey = luma(crop(pixels, quad, size).astype(np.float32))
    soft = cv2.GaussianBlur(grey, (0, 0), 1.0)
    softer = cv2.GaussianBlur(soft, (0, 0), float(np.sqrt(3.0)))
    fine, coarse = (float(np.square(band).mean()) for band in (grey - soft, soft - softer))
    ratio = float(np.sqrt(max(fine - _ROUNDING, 0) / (coarse + _ROUNDING)))
    return float(np.clip((ratio - 0.5) / 0.5, 0, 1))

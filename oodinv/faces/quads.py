"""Quads: the squares, possibly turned, that are cut out of photos.

Coordinates are continuous: the photo's top left corner is (0, 0), and pixel (row 0, column 0) covers
[0, 1] × [0, 1] with its centre at (0.5, 0.5). A quad (4, 2) lists the corners of a crop in the order top
left, bottom left, bottom right, top right.
"""

import math

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def square(centre: Points, x: Points) -> Points:
    """Corners (4, 2) of the square with this centre (2,) and half its horizontal side x (2,)."""
    y = quarter_turn(x)
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def quarter_turn(v: Points) -> Points:
    """Turns (x, y) into (−y, x): a quarter turn clockwise as seen in the picture."""
    return np.array([-v[1], v[0]])


def scale_quad(quad: Points, factor: float) -> Points:
    """The quad enlarged about its centre."""
    centre = quad.mean(axis=0)
    scaled: Points = centre + (quad - centre) * factor
    return scaled


def quad_side(quad: Points) -> float:
    """Length of the top side in photo pixels."""
    return math.hypot(*(quad[3] - quad[0]))


def crop_to_photo(quad: Points, size: int) -> Points:
    """Affine matrix (2, 3) from the coordinates of a size × size crop to those of the photo."""
    return np.column_stack([(quad[3] - quad[0]) / size, (quad[1] - quad[0]) / size, quad[0]])


def transform(matrix: Points, points: Points) -> Points:
    """Applies an affine matrix (2, 3) to points (N, 2)."""
    moved: Points = points @ matrix[:, :2].T + matrix[:, 2]
    return moved

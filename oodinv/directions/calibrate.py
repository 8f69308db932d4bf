"""Calibrates the length of a fitted direction on generated pictures instead of codes."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from oodinv.directions import drawn
from oodinv.directions.fit import Fitted
from oodinv.faces.detectors.base import Detector
from oodinv.inversion import encode
from oodinv.weights.build import Model

FACES = 64
LEAST = 0.1
"""Smallest fraction of its unit by which a direction must change pictures; below it, codes are measured."""


def calibrated(fitted: Fitted, model: Model, codes: NDArray[np.float32], detector: Detector | None = None) -> Fitted:
    """Rescales a direction so that strength 1 is one standard deviation of the attribute measured on pictures.

    That is the score s of the fit, with its standard deviation σ. A code w and what an encoder sees in the picture
    drawn from it differ: of a step along u only a share arrives. With generator G and encoder E, that share is
    t = mean over faces of (s(E(G(w + u))) − s(E(G(w − u)))) / 2σ, and u becomes u / t. Where the attribute was
    measured on drawn pictures (`drawn.NAMES`), by `detector`, that measure takes the place of s(E(·)), and its standard
    deviation over the photos of the fit that of σ. codes (N, num_ws, w_dim): faces to draw, of which FACES are used.
    SAMM takes no part, so its weights don't change the unit.

    Where less than LEAST arrives, as with a generator that doesn't draw the attribute, the unit stays that of codes,
    and the direction's `unit` and `method` say so.

    Raises:
        ValueError: the attribute is measured on drawn pictures, and there is no detector.
    """
    chosen = torch.from_numpy(codes[:: max(1, len(codes) // FACES)][:FACES])
    share = _share(fitted, model, chosen, detector)
    if not share >= LEAST:
        method = f"{fitted.direction.method}; pictures show {share:.0%} of it, too little to set a unit by"
        return replace(fitted, direction=replace(fitted.direction, method=method))
    direction = replace(
        fitted.direction,
        vector=fitted.direction.vector / share,
        unit=fitted.direction.unit.replace("as codes tell it", "as pictures drawn with it show"),
        method=f"{fitted.direction.method}, over the {share:.2f} of it that arrive in pictures",
    )
    return replace(fitted, direction=direction)


def _share(fitted: Fitted, model: Model, codes: torch.Tensor, detector: Detector | None) -> float:
    """Fraction of a step that pictures show; NaN where no face is found in them."""
    moved = [codes + sign * fitted.direction.vector for sign in (1, -1)]
    attribute = fitted.direction.attribute
    if attribute not in drawn.NAMES:
        up, down = (fitted.score.of(_seen(model, some)) for some in moved)
        return float((up - down).mean()) / (2 * fitted.spread)
    if detector is None:
        raise ValueError(f"{attribute} is measured on pictures, which takes a detector")
    up, down = (drawn.measured(model, some, detector)[attribute] for some in moved)
    known = np.isfinite(up - down)
    return float((up - down)[known].mean()) / (2 * fitted.spread) if known.any() else float("nan")


def _seen(model: Model, w_plus: torch.Tensor) -> NDArray[np.float64]:
    """Encodes the pictures generated from codes (N, num_ws, w_dim) again. → (N, num_ws · w_dim)"""
    found = [encode(model, some).w_plus.double().flatten(1).cpu() for some in drawn.pictures(model, w_plus)]
    return np.asarray(torch.cat(found).numpy(), dtype=np.float64)

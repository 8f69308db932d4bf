"""Calibrates the length of a fitted direction on generated pictures instead of codes."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from oodinv.directions import generated
from oodinv.directions.fit import Fitted
from oodinv.faces.detectors.base import Detector
from oodinv.inversion import encode
from oodinv.weights.build import Model

FACES = 64
LEAST = 0.1
"""Smallest fraction of its unit by which a direction must change pictures; below it, the unit stays that of codes."""


def calibrate(fitted: Fitted, model: Model, codes: NDArray[np.float32], detector: Detector | None = None) -> Fitted:
    """Rescales a direction so that strength 1 is one standard deviation of the attribute measured on pictures.

    Encoding the picture generated from a code does not give the code back exactly, so a step u changes the score s of
    the fit, with standard deviation σ, by a fraction t only. With generator G and encoder E,
    t = mean over faces of (s(E(G(w + u))) − s(E(G(w − u)))) / 2σ, and u becomes u / t. For attributes measured on
    generated pictures (`generated.NAMES`), that measure, by `detector`, replaces s(E(·)), and its standard deviation
    over the photos of the fit replaces σ. codes (N, num_ws, w_dim): faces to generate, of which FACES are used. SAMM is
    not applied, so its weights don't affect the unit.

    If t is below LEAST, as with a generator that can't reproduce the attribute, the unit stays that of codes, which the
    direction's `unit` and `method` state.

    Raises:
        ValueError: the attribute is measured on generated pictures, and `detector` is None.
    """
    chosen = torch.from_numpy(codes[:: max(1, len(codes) // FACES)][:FACES])
    share = _share(fitted, model, chosen, detector)
    if not share >= LEAST:
        method = f"{fitted.direction.method}; generated pictures show {share:.0%} of it, too little for calibration"
        return replace(fitted, direction=replace(fitted.direction, method=method))
    direction = replace(
        fitted.direction,
        vector=fitted.direction.vector / share,
        unit=fitted.direction.unit.replace(generated.ON_CODES, generated.ON_PICTURES),
        method=f"{fitted.direction.method}, divided by the {share:.2f} of it that generated pictures show",
    )
    return replace(fitted, direction=direction)


def _share(fitted: Fitted, model: Model, codes: torch.Tensor, detector: Detector | None) -> float:
    """Fraction of a step that pictures show; NaN where no face is found in them."""
    shifted = [codes + sign * fitted.direction.vector for sign in (1, -1)]
    attribute = fitted.direction.attribute
    if attribute not in generated.NAMES:
        up, down = (fitted.score.of(_reencoded(model, some)) for some in shifted)
        return float((up - down).mean()) / (2 * fitted.spread)
    if detector is None:
        raise ValueError(f"{attribute} is measured on generated pictures; pass a detector")
    up, down = (generated.measured(model, some, detector)[attribute] for some in shifted)
    known = np.isfinite(up - down)
    return float((up - down)[known].mean()) / (2 * fitted.spread) if known.any() else float("nan")


def _reencoded(model: Model, w_plus: torch.Tensor) -> NDArray[np.float64]:
    """Encodes the pictures generated from codes (N, num_ws, w_dim) again. → (N, num_ws · w_dim)"""
    found = [encode(model, some).w_plus.double().flatten(1).cpu() for some in generated.pictures(model, w_plus)]
    return np.asarray(torch.cat(found).numpy(), dtype=np.float64)

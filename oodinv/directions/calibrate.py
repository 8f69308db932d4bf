"""The length of a fitted direction, measured in pictures instead of in codes."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from oodinv.directions.fit import Fitted
from oodinv.inverter import computing, encode
from oodinv.models.stylegan2 import synthesize
from oodinv.weights.build import Model

FACES = 64
LEAST = 0.1
"""Share of its unit that a direction must move pictures by; one that moves them less is told from codes only."""
_BATCH = 16


def calibrated(fitted: Fitted, model: Model, codes: NDArray[np.float32]) -> Fitted:
    """The direction in the unit that pictures show: a strength of 1 is one standard deviation of their score.

    A code w and what an encoder sees in the picture drawn from it differ: of a step along u only a share arrives.
    With the score s of the fit, its standard deviation σ, generator G and encoder E, that share is
    t = mean over faces of (s(E(G(w + u))) − s(E(G(w − u)))) / 2σ, and u becomes u / t. codes (N, num_ws, w_dim):
    faces to draw, of which FACES are used. SAMM takes no part, so its weights don't change the unit.

    Where less than LEAST arrives, as with a generator that doesn't draw the attribute, the unit stays that of codes,
    and the direction's `unit` and `method` say so.
    """
    chosen = torch.from_numpy(codes[:: max(1, len(codes) // FACES)][:FACES])
    up, down = (fitted.score.of(_seen(model, chosen + sign * fitted.direction.vector)) for sign in (1, -1))
    share = float((up - down).mean()) / (2 * fitted.deviation)
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


def _seen(model: Model, w_plus: torch.Tensor) -> NDArray[np.float64]:
    """Codes (N, num_ws, w_dim) as the encoder tells them from the pictures that they draw, (N, num_ws · w_dim)."""
    device = model.generator.w_avg.device
    found = []
    for some in w_plus.split(_BATCH):
        with computing(device, torch.float32):
            drawn = synthesize(model.generator, some.to(device), "fixed").clamp(-1, 1)
        found.append(encode(model, drawn).w_plus.double().flatten(1).cpu())
    return np.asarray(torch.cat(found).numpy(), dtype=np.float64)

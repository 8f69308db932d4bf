"""Directions of a fitting recipe that are taken from files of other projects."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from oodinv.directions.faces import MeasuredFaces
from oodinv.directions.files import Direction
from oodinv.directions.fit import FEWEST, fit_score, on_layers, usable_faces
from oodinv.directions.foreign import ModelShape, import_file, import_one
from oodinv.directions.labels import Labels
from oodinv.directions.regress import Array, partial_effect, standardise
from oodinv.errors import RecipeError
from oodinv.recipe.directions import DirectionSpec


def take(folder: Path, wanted: DirectionSpec, target: ModelShape, faces: MeasuredFaces, labels: Labels) -> Direction:
    """Reads the published vector of a direction, holds its conditions constant on the faces, and scales it.

    Raises:
        WeightsError: the file is missing, damaged, or of another model.
        RecipeError: a condition is missing, has too few faces, or can't be predicted from the codes.
    """
    assert wanted.published is not None
    path = folder / wanted.published
    found = import_one(path, target) if wanted.component is None else import_file(path, target, [wanted.component])[0]
    shape = tuple(found.vector.shape)
    move = on_layers(found.vector.double().numpy().ravel(), shape, wanted)
    held = ""
    if wanted.conditions:
        chosen = usable_faces(labels, wanted, wanted.conditions) & ~faces.held_out
        if chosen.sum() < FEWEST:
            raise RecipeError(f"{wanted.name}: only {chosen.sum()} faces have all its labels; {FEWEST} are needed")
        codes = faces.w_plus.reshape(len(faces.w_plus), -1).astype(np.float64)[chosen]
        columns = standardise(np.column_stack([labels[name][chosen] for name in wanted.conditions]))
        move = hold(move, codes, columns, wanted, shape)
        held = f", {', '.join(wanted.conditions)} held fixed by regressions on {chosen.sum()} faces"
    return replace(
        found,
        name=wanted.name,
        vector=torch.from_numpy(wanted.scale * move.reshape(shape)).float(),
        layers=None if wanted.layers is None else tuple(wanted.layers),
        unit=wanted.unit,
        safe_range=wanted.safe_range,
        attribute=wanted.attribute,
        description=wanted.description,
        method=f"{wanted.scale:g} times {found.method}{held}",
    )


def hold(move: Array, codes: Array, conditions: Array, wanted: DirectionSpec, shape: tuple[int, ...]) -> Array:
    """Removes from a step (D,) what changes the scores of conditions (N, K) of codes (N, D).

    With the score s_k of each condition, a regression on codes, and its partial effect d_k on codes, on the layers of
    the direction, solves s_k(move − Σ_j t_j d_j) = 0 for t.

    Raises:
        RecipeError: a condition can't be predicted from the codes, or is a combination of the others.
    """
    count = conditions.shape[1]
    scores = [fit_score(codes, conditions[:, k], False) for k in range(count)]
    try:
        effects = [
            on_layers(partial_effect(codes, conditions[:, k], np.delete(conditions, k, axis=1)), shape, wanted)
            for k in range(count)
        ]
    except ValueError as error:
        raise RecipeError(f"{wanted.name}: a condition: {error}; remove one") from error
    slopes = np.array([[score.slope(effect) for effect in effects] for score in scores])
    if np.linalg.matrix_rank(slopes, rtol=1e-3) < count:
        raise RecipeError(f"{wanted.name}: its conditions can't be told apart in these codes; remove one")
    amounts = np.linalg.solve(slopes, [score.slope(move) for score in scores])
    held: Array = move - amounts @ np.stack(effects)
    return held

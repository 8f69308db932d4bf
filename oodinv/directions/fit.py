"""Directions fitted to labelled faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from oodinv.directions import generated
from oodinv.directions.faces import MeasuredFaces
from oodinv.directions.files import Direction
from oodinv.directions.labels import Labels, one_hot
from oodinv.directions.regress import (
    Array,
    Components,
    determination,
    discrimination,
    logistic,
    partial_effect,
    principal_components,
    ridge,
    standardise,
)
from oodinv.errors import RecipeError
from oodinv.recipe.directions import DirectionSpec

COMPONENTS = 256
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
FEWEST = 40
"""Smallest number of faces to fit to."""

FOLDS = 4


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted direction, and the accuracy of its regression on held-out faces.

    quality: R² of a linear score, or the area under the ROC curve of a logistic one, over `held_out` faces.
    spread: standard deviation of the score over the training faces; for an attribute of generated pictures, that of
    the same measure of the photos, which varies more. faces, held_out: number of training and held-out faces.
    """

    direction: Direction
    score: "Score"
    spread: float
    measure: Literal["R2", "AUC"]
    quality: float
    faces: int
    held_out: int


@dataclass(frozen=True, eq=False)
class Score:
    """A linear score of codes: principal components, weights of the coordinates, and an offset."""

    components: Components
    weights: Array
    offset: float

    def of(self, codes: Array) -> Array:
        """Scores codes (N, D). → (N,) in units of the label, or log-odds."""
        scores: Array = self.components.project(codes) @ self.weights + self.offset
        return scores

    def slope(self, move: Array) -> float:
        """Change of the score by a step (D,) from any code."""
        return float(move @ self.components.basis / self.components.deviations @ self.weights)


def fit(faces: MeasuredFaces, labels: Labels, wanted: DirectionSpec, categories: Sequence[str], model: str) -> Fitted:
    """Fits the direction of an attribute, conditioned on others, in its unit.

    The vector is the partial effect of the attribute on w_plus (`regress.partial_effect`), restricted to the chosen
    layers. Its length is such that strength 1 raises the score, a regression of the attribute on codes, by one standard
    deviation over the faces. The safe range is between the 1st and 99th percentile of the scores, relative to their
    mean and in that unit; of the labels, if these were measured on generated pictures.

    Raises:
        RecipeError: a label is missing, constant, has too few faces, or can't be predicted from the codes.
    """
    usable = _usable(labels, wanted)
    train, held_out = usable & ~faces.held_out, usable & faces.held_out
    if train.sum() < FEWEST:
        raise RecipeError(f"{wanted.name}: only {train.sum()} faces have all its labels; at least {FEWEST} are needed")
    codes = faces.w_plus.reshape(len(faces.w_plus), -1).astype(np.float64)
    truth, is_binary = _truth(labels[wanted.attribute], train, wanted)
    conditions = [_columns(labels[name], name, categories)[train] for name in wanted.conditions]
    fixed = standardise(np.column_stack(conditions)) if conditions else np.empty((int(train.sum()), 0))
    try:
        move = partial_effect(codes[train], standardise(truth[train, None])[:, 0], fixed)
    except ValueError as error:
        raise RecipeError(f"{wanted.name}: {wanted.attribute}: {error}; remove a condition") from error
    move = _on_layers(move, faces.w_plus.shape[1:], wanted)
    score = fit_score(codes[train], truth[train], is_binary)
    scores = score.of(codes[train])
    slope = score.slope(move)
    if not slope > 1e-6 * scores.std() or not scores.std() > 0:
        raise RecipeError(
            f"{wanted.name}: {wanted.attribute} can't be predicted from these codes; give more faces or layers"
        )
    unit = move * (scores.std() / slope)
    quality = (discrimination if is_binary else determination)(score.of(codes[held_out]), truth[held_out])
    is_generated = wanted.attribute in generated.NAMES
    spread = _photos_spread(labels, train, wanted.attribute) if is_generated else float(scores.std())
    standing = truth[train] if is_generated else scores
    direction = _direction(unit.reshape(faces.w_plus.shape[1:]), standing, spread, is_binary, wanted, model)
    measure: Literal["R2", "AUC"] = "AUC" if is_binary else "R2"
    return Fitted(direction, score, spread, measure, quality, int(train.sum()), int(held_out.sum()))


def score_labels(fitted: Fitted, faces: MeasuredFaces) -> Labels:
    """Label predicted_NAME for later fits: scores of the faces by the fit of an earlier direction NAME.

    It serves as a condition for faces without that label.
    """
    return {
        f"predicted_{fitted.direction.name}": fitted.score.of(
            faces.w_plus.reshape(len(faces.w_plus), -1).astype(np.float64)
        )
    }


def _usable(labels: Labels, wanted: DirectionSpec) -> NDArray[np.bool_]:
    """Selects faces that have all labels, within their ranges, (N,)."""
    names = [wanted.attribute, *wanted.conditions, *wanted.within]
    if missing := [name for name in names if name not in labels]:
        raise RecipeError(f"{wanted.name}: there is no label {missing[0]}; there are {', '.join(sorted(labels))}")
    usable = np.all([np.isfinite(labels[name]) for name in names], axis=0)
    for name, (low, high) in wanted.within.items():
        usable &= (labels[name] >= low) & (labels[name] <= high)
    return np.asarray(usable)


def _truth(values: Array, train: NDArray[np.bool_], wanted: DirectionSpec) -> tuple[Array, bool]:
    """Returns the regression's target, and True for logistic regression: two values become 0 and 1."""
    kinds = np.unique(values[train])
    if len(kinds) < 2:
        raise RecipeError(f"{wanted.name}: {wanted.attribute} has the same value for all faces")
    is_binary = len(kinds) == 2 if wanted.regression is None else wanted.regression == "logistic"
    if not is_binary:
        return values, False
    if len(kinds) > 2:
        raise RecipeError(f"{wanted.name}: logistic regression needs two values; {wanted.attribute} has {len(kinds)}")
    return (values == kinds[1]).astype(np.float64), True


def _columns(values: Array, name: str, categories: Sequence[str]) -> Array:
    return one_hot(values, name) if name in categories else values[:, None]


def _on_layers(move: Array, shape: tuple[int, ...], wanted: DirectionSpec) -> Array:
    """Sets a step (num_ws · w_dim,) to zero on rows that are not edited."""
    if wanted.layers is None:
        return move
    if bad := [layer for layer in wanted.layers if layer >= shape[0]]:
        raise RecipeError(f"{wanted.name}: there is no layer {bad[0]}; the model has 0 to {shape[0] - 1}")
    rows = np.zeros((shape[0], 1))
    rows[wanted.layers] = 1
    kept: Array = (move.reshape(shape) * rows).ravel()
    return kept


def fit_score(codes: Array, truth: Array, is_binary: bool) -> Score:
    """Regresses the truth (N,) on the components of codes (N, D), with the penalty chosen by cross-validation."""
    components = principal_components(codes, min(COMPONENTS, len(codes) // 5))
    x = components.project(codes)
    regress, judge = (logistic, discrimination) if is_binary else (ridge, determination)
    fold = np.arange(len(x)) % FOLDS

    def quality(penalty: float) -> float:
        predicted = np.empty(len(x))
        for n in range(FOLDS):
            weights, offset = regress(x[fold != n], truth[fold != n], penalty)
            predicted[fold == n] = x[fold == n] @ weights + offset
        return judge(predicted, truth)

    best = max(PENALTIES, key=quality)
    weights, offset = regress(x, truth, best)
    return Score(components, weights, offset)


def _photos_spread(labels: Labels, train: NDArray[np.bool_], attribute: str) -> float:
    """Standard deviation over the photos of a measure of generated pictures, which vary less than the photos.

    Without measures of the photos, that over the generated pictures.
    """
    photos = labels.get(attribute.removeprefix("drawn_"), labels[attribute])[train]
    return float(np.nanstd(photos if np.isfinite(photos).any() else labels[attribute][train]))


def _direction(
    unit: Array, standing: Array, spread: float, is_binary: bool, wanted: DirectionSpec, model: str
) -> Direction:
    """Builds the direction with vector `unit`; standing (N,): scores of the faces; spread: the unit in scores."""
    low, high = (np.percentile(standing, [1, 99]) - standing.mean()) / spread
    step = "" if is_binary else f", {spread:.3g} on the label's scale"
    held = f", {', '.join(wanted.conditions)} held fixed" if wanted.conditions else ""
    kind = "logistic" if is_binary else "ridge"
    return Direction(
        name=wanted.name,
        model=model,
        vector=torch.from_numpy(unit).float(),
        layers=None if wanted.layers is None else tuple(wanted.layers),
        unit=f"one standard deviation of {wanted.attribute.removeprefix('drawn_')} {generated.ON_CODES}{step}",
        safe_range=(round(float(low), 2), round(float(high), 2)),
        attribute=wanted.attribute,
        description=wanted.description,
        method=f"partial regression on {len(standing)} faces{held}; unit by a {kind} score",
    )

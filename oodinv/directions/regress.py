"""Regression in latent space, in closed form or by Newton's method, in double precision.

Codes w are flattened to rows. The direction is the partial regression (Frisch and Waugh) of codes on labels,
w = w̄ + Σ_j a_j d_j + residual: its row d for the attribute is the average change of codes with the attribute, while the
other labels (conditions) are held constant, however they correlate with it. The score is the ridge or logistic
regression of the attribute on codes, which also applies to new faces. d is scaled by the score.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def standardise(values: Array) -> Array:
    """Columns (N, K) shifted and scaled to mean 0 and standard deviation 1; constant ones become 0."""
    spread = values.std(axis=0)
    scaled: Array = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return scaled


def partial_effect(codes: Array, attribute: Array, conditions: Array) -> Array:
    """Partial effect of an attribute (N,) on codes (N, D) with the conditions (N, K) held constant. → (D,)

    The attribute's row of the least-squares solution of codes ≈ [attribute, conditions, 1] B.

    Raises:
        ValueError: the attribute is constant, or a combination of the conditions.
    """
    columns = np.column_stack([attribute, conditions, np.ones(len(attribute))])
    others, own = columns[:, 1:], columns[:, 0]
    rest = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
    if not np.linalg.norm(rest) > 1e-6 * np.linalg.norm(own - own.mean()):
        raise ValueError("it does not vary when the conditions are held constant")
    effect: Array = rest @ codes / (rest @ rest)
    return effect


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of codes: mean (D,), basis (D, R) with orthonormal columns, standard deviations (R,)."""

    mean: Array
    basis: Array
    deviations: Array

    def project(self, codes: Array) -> Array:
        """Codes (N, D) → whitened coordinates (N, R)."""
        coordinates: Array = (codes - self.mean) @ self.basis / self.deviations
        return coordinates


def principal_components(codes: Array, count: int, rng: np.random.Generator) -> Components:
    """The strongest components of codes (N, D), largest first; by subspace iteration, exact where count is D.

    Source: "Finding structure with randomness" (Halko, Martinsson and Tropp, 2011), algorithm 4.4. The sign makes
    each column's largest element positive.
    """
    mean = codes.mean(axis=0)
    centred = codes - mean
    count = min(count, *centred.shape)
    subspace = rng.standard_normal((centred.shape[1], min(count + 16, centred.shape[1])))
    for _ in range(4):
        subspace = np.linalg.qr(centred.T @ (centred @ subspace))[0]
    _, values, rows = np.linalg.svd(np.linalg.qr(centred @ subspace, mode="r"), full_matrices=False)
    basis = (subspace @ rows.T)[:, :count]
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(count)])
    deviations = values[:count] / np.sqrt(len(codes))
    kept = deviations > 1e-7 * deviations[0]
    return Components(mean, basis[:, kept], deviations[kept])


def ridge(x: Array, y: Array, penalty: float) -> tuple[Array, float]:
    """Weights (R,) and offset that minimise |y − x·weights − offset|² / N + penalty · |weights|²."""
    centre, level = x.mean(axis=0), float(y.mean())
    centred = x - centre
    gram = centred.T @ centred / len(x) + penalty * np.eye(x.shape[1])
    weights: Array = np.linalg.solve(gram, centred.T @ (y - level) / len(x))
    return weights, level - float(centre @ weights)


def logistic(x: Array, y: Array, penalty: float, passes: int = 25) -> tuple[Array, float]:
    """Weights (R,) and offset of logistic regression of y in {0, 1}, by Newton's method.

    Minimises the mean of log(1 + exp(t)) − y·t, with t = x·weights + offset, plus penalty/2 · |weights|². With a
    penalty the minimum is unique and finite even where a plane separates the classes.
    """
    columns = np.column_stack([x, np.ones(len(x))])
    shrink = np.append(np.full(x.shape[1], penalty), 1e-9)
    weights = np.zeros(columns.shape[1])
    for _ in range(passes):
        p = 1 / (1 + np.exp(-np.clip(columns @ weights, -30, 30)))
        gradient = columns.T @ (p - y) / len(x) + shrink * weights
        hessian = (columns.T * (p * (1 - p))) @ columns / len(x) + np.diag(shrink)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights[:-1], float(weights[-1])


def determination(predicted: Array, truth: Array) -> float:
    """R² of the best linear function of a prediction (N,) for the truth (N,)."""
    if predicted.std() == 0 or truth.std() == 0:
        return 0.0
    return float(np.corrcoef(predicted, truth)[0, 1] ** 2)


def discrimination(score: Array, truth: Array) -> float:
    """Area under the ROC curve of a score (N,) for truth in {0, 1}; 0.5 is chance."""
    positive, negative = score[truth == 1], score[truth == 0]
    if not len(positive) or not len(negative):
        return 0.5
    order = np.searchsorted(np.sort(negative), positive, side="left")
    ties = np.searchsorted(np.sort(negative), positive, side="right") - order
    return float((order + ties / 2).mean() / len(negative))

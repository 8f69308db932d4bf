"""Regression in latent space, in double precision; ridge, logistic regression and PCA are scikit-learn's.

Codes w are flattened to rows. The direction is the partial regression (Frisch and Waugh) of codes on labels,
w = w̄ + Σ_j a_j d_j + residual: its row d for the attribute is the average change of codes with the attribute, while the
other labels (conditions) are held constant, however they correlate with it. The score is the ridge or logistic
regression of the attribute on codes, which also applies to new faces. d is scaled by the score.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oodinv.errors import OodinvError

Array = NDArray[np.float64]


def sklearn(module: str) -> Any:
    """Imports a module of scikit-learn, which is an extra.

    Raises:
        OodinvError: scikit-learn is not installed.
    """
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise OodinvError(
            "fitting directions needs scikit-learn, which is not installed; pip install 'oodinv[fit]'"
        ) from error


def standardise(values: Array) -> Array:
    """Shifts and scales columns (N, K) to mean 0 and standard deviation 1; constant ones become 0."""
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


def principal_components(codes: Array, count: int) -> Components:
    """The strongest components of codes (N, D), largest first, by a randomised SVD with a fixed seed.

    Source: "Finding structure with randomness" (Halko, Martinsson and Tropp, 2011), algorithm 4.4. The sign makes
    each column's largest element positive.
    """
    found = sklearn("decomposition").PCA(
        min(count, *codes.shape), svd_solver="randomized", n_oversamples=16, iterated_power=4, random_state=0
    )
    found.fit(codes)
    basis: Array = found.components_.T
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
    deviations = found.singular_values_ / np.sqrt(len(codes))
    varying = deviations > 1e-7 * deviations[0]
    return Components(found.mean_, basis[:, varying], deviations[varying])


def ridge(x: Array, y: Array, penalty: float) -> tuple[Array, float]:
    """Weights (R,) and offset that minimise |y − x·weights − offset|² / N + penalty · |weights|²."""
    model = sklearn("linear_model").Ridge(alpha=penalty * len(x)).fit(x, y)
    return model.coef_, float(model.intercept_)


def logistic(x: Array, y: Array, penalty: float) -> tuple[Array, float]:
    """Weights (R,) and offset of logistic regression of y in {0, 1}, by Newton's method.

    Minimises the mean of log(1 + exp(t)) − y·t, with t = x·weights + offset, plus penalty/2 · |weights|². With a
    penalty the minimum is unique and finite even where a plane separates the classes.
    """
    model = sklearn("linear_model").LogisticRegression(C=1 / (penalty * len(x)), solver="newton-cholesky", tol=1e-8)
    model.fit(x, y)
    return model.coef_[0], float(model.intercept_[0])


def determination(predicted: Array, truth: Array) -> float:
    """R² of the best linear function of a prediction (N,) for the truth (N,)."""
    if predicted.std() == 0 or truth.std() == 0:
        return 0.0
    return float(np.corrcoef(predicted, truth)[0, 1] ** 2)


def discrimination(score: Array, truth: Array) -> float:
    """Area under the ROC curve of a score (N,) for truth in {0, 1}; 0.5 is chance."""
    if len(np.unique(truth)) < 2:
        return 0.5
    return float(sklearn("metrics").roc_auc_score(truth, score))

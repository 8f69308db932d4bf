"""Fréchet distance between two sets of features, fitted by Gaussians.

It is called FID only with the features of the InceptionV3 network that FID is defined with; in other features it
is another measure, and tables name it by them.
Source: "GANs Trained by a Two Time-Scale Update Rule" (Heusel et al., NeurIPS 2017), equation 6.
"""

import numpy as np
from numpy.typing import NDArray


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of a symmetric positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^(1/2)) of features (N, D) and (M, D), never below 0.

    Raises:
        ValueError: a set has not more members than there are features: its covariance would be singular.
    """
    if min(len(a), len(b)) <= a.shape[1]:
        raise ValueError(f"{min(len(a), len(b))} pictures are too few for a covariance of {a.shape[1]} features")
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    half = _root(cov_a)
    product = np.linalg.eigvalsh(half @ cov_b @ half)  # has the eigenvalues of Σ_a Σ_b, and is symmetric
    cross = np.sqrt(product.clip(min=0)).sum()
    distance = np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(0.0, float(distance))

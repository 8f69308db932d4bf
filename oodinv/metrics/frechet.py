"""Fréchet distance between Gaussians fitted to two sets of features.

FID is this distance in the features of one InceptionV3 network; with other features it is named by them.
Source: "GANs Trained by a Two Time-Scale Update Rule" (Heusel et al., NeurIPS 2017), equation 6.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.metrics.base import FeatureDistance, FeatureFunction, Setting
from oodinv.metrics.identity import Sface
from oodinv.weights.families import build_inception
from oodinv.weights.pull import pull
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of a symmetric positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^(1/2)) of features (N, D) and (M, D), never below 0.

    Raises:
        ValueError: a set has no more members than there are features, so that its covariance is singular.
    """
    if min(len(a), len(b)) <= a.shape[1]:
        raise ValueError(f"{min(len(a), len(b))} pictures are too few for a covariance of {a.shape[1]} features")
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    half = _root(cov_a)
    product = np.linalg.eigvalsh(half @ cov_b @ half)  # has the eigenvalues of Σ_a Σ_b, and is symmetric
    cross = np.sqrt(product.clip(min=0)).sum()
    distance = np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(0.0, float(distance))


def _load_sface(setting: Setting) -> FeatureFunction:
    network = Sface(pull("sface"), setting.crop_scale)
    return lambda images: network.embed(images).numpy()


def _load_inception(setting: Setting) -> FeatureFunction:
    network = build_inception(translate(read(pull("fid-inception")))).to(setting.device)

    def features(images: Tensor) -> NDArray[np.float64]:
        with torch.inference_mode():
            found: NDArray[np.float64] = network(images.float()).double().cpu().numpy()
        return found

    return features


FRECHET_SFACE = FeatureDistance(
    "frechet_sface",
    "Fréchet (SFace)",
    4,
    "Fréchet distance in SFace features; not FID, not comparable to it",
    _load_sface,
)
FID = FeatureDistance(
    "fid",
    "FID",
    2,
    "Fréchet distance in 2,048 features of InceptionV3 (2015-12-05); needs more pictures",
    _load_inception,
)

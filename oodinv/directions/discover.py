"""Directions found without labels: SeFa's closed form and GANSpace's principal components."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oodinv.directions.files import Direction
from oodinv.directions.regress import Array, principal_components
from oodinv.errors import RecipeError
from oodinv.models.generators.base import Generator, map_latents


def style_weights(generator: Generator, rows: Sequence[int]) -> Tensor:
    """Stacks the run-time weights of the rows' affine layers into A (styles, w_dim)."""
    return torch.cat([generator.style_weights(row).detach() for row in rows])


def factorise(weights: Tensor, count: int) -> Tensor:
    """The unit vectors n that change styles most, argmax |A n|²: the first eigenvectors of AᵀA. (count, w_dim)

    The sign makes the largest element positive. Source: "Closed-form factorization of latent semantics in GANs"
    (Shen and Zhou, CVPR 2021), equation 5.
    """
    a = weights.double()
    vectors = torch.linalg.eigh(a.t() @ a).eigenvectors.flip(1)[:, :count].t()
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    signed: Tensor = (vectors * largest.sign()).float()
    return signed


def map_samples(generator: Generator, count: int, seed: int) -> Tensor | None:
    """Maps random z to w (count, w_dim); None where the generator has no mapping network."""
    if not generator.has_mapping:
        return None
    device = generator.w_avg.device
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        return torch.cat([map_latents(generator, part.to(device)) for part in z.split(1024)]).cpu()


def sefa(
    generator: Generator, model: str, layers: tuple[int, ...] | None, count: int, codes: Tensor | None
) -> list[Direction]:
    """SeFa's first directions on the chosen rows, by default on all.

    codes (N, num_ws, w_dim), where there are any, give the unit: one standard deviation of their place along the
    direction. Without codes it is length 1.
    """
    rows = tuple(range(generator.num_ws)) if layers is None else layers
    vectors = factorise(style_weights(generator, rows), count)
    found = []
    for index, vector in enumerate(vectors):
        places = None if codes is None else (codes[:, list(rows)].mean(dim=1) @ vector).double()
        scale = 1.0 if places is None else float(places.std())
        found.append(
            Direction(
                name=f"sefa-{index:02d}",
                model=model,
                vector=_on_rows(vector * scale, generator.num_ws, rows),
                layers=layers,
                unit="length 1 on each row; not calibrated" if places is None else "one standard deviation over faces",
                safe_range=None if places is None else _range((places - places.mean()).numpy() / max(scale, 1e-12)),
                attribute=f"SeFa direction {index}",
                method=f"eigenvector {index} of AᵀA of rows {', '.join(map(str, rows))}",
            )
        )
    return found


def ganspace(codes: Array, model: str, layers: tuple[int, ...] | None, num_ws: int, count: int) -> list[Direction]:
    """Principal components of codes, (N, w_dim) of a mapping network or (N, num_ws, w_dim) of encoded faces, times σ.

    Source: "GANSpace: discovering interpretable GAN controls" (Härkönen et al., NeurIPS 2020), section 2.2.

    Raises:
        RecipeError: there are too few codes.
    """
    rows = tuple(range(num_ws)) if layers is None else layers
    chosen = codes if codes.ndim == 2 else codes[:, list(rows)]
    flat = chosen.reshape(len(chosen), -1)
    if len(flat) < 2 * count:
        raise RecipeError(f"{len(flat)} codes are too few for {count} components; give at least {2 * count}")
    components = principal_components(flat, count)
    places = components.project(flat)
    return [
        Direction(
            name=f"pca-{index:02d}",
            model=model,
            vector=_on_rows(torch.from_numpy(basis * sigma).float().reshape(chosen.shape[1:]), num_ws, rows),
            layers=layers,
            unit="one standard deviation of the component",
            safe_range=_range(places[:, index]),
            attribute=f"component {index}",
            method=f"principal component {index} of {len(flat)} {'mapped' if codes.ndim == 2 else 'encoded'} codes",
        )
        for index, (basis, sigma) in enumerate(zip(components.basis.T, components.deviations, strict=True))
    ]


def _on_rows(move: Tensor, num_ws: int, rows: tuple[int, ...]) -> Tensor:
    """Spreads a vector (w_dim,) or (rows, w_dim) over these rows of (num_ws, w_dim), zero elsewhere."""
    vector = torch.zeros(num_ws, move.shape[-1])
    vector[list(rows)] = move
    return vector


def _range(places: Array) -> tuple[float, float] | None:
    """1st and 99th percentile; None for constant values."""
    low, high = (round(float(np.percentile(places, p)), 2) for p in (1, 99))
    return (low, high) if low < high else None

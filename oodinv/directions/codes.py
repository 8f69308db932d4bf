"""Reads latent codes of other projects, in the containers that directions come in."""

from pathlib import Path
from typing import Any

from torch import Tensor

from oodinv.directions.contents import describe, only_tensor, read_contents
from oodinv.directions.foreign import ModelShape
from oodinv.errors import UnknownLayout, WeightsError


def read_codes(path: Path, target: ModelShape) -> Tensor:
    """Codes of one or more people, w_plus float32 (N, num_ws, w_dim).

    One code is (num_ws, w_dim), (num_ws · w_dim,) or (w_dim,), which becomes every row; N codes are any of these with
    a first axis of N. (num_ws, w_dim) is one code, never num_ws codes (w_dim,). Spare rows of the target are left out.

    Raises:
        WeightsError: it is damaged, refused, or holds something else.
    """
    value = only_tensor(read_contents(path))
    num_ws, w_dim = target.num_ws, target.w_dim
    codes = stacked(value, (num_ws, num_ws + target.spare_rows), w_dim)
    if codes is None:
        raise UnknownLayout(
            f"{path}: expected one latent code ({num_ws}, {w_dim}) or ({w_dim},), or several (N, {num_ws}, {w_dim}) or "
            f"(N, {w_dim}), found {describe(value)}"
        )
    if not codes.isfinite().all():
        raise WeightsError(f"{path}: has values that are not finite; generate it again")
    return codes.expand(-1, num_ws, -1) if codes.shape[1] == 1 else codes[:, :num_ws]


def stacked(value: Any, rows: tuple[int, int], w_dim: int) -> Tensor | None:
    """Codes in a shape that `read_codes` knows as (N, 1 or one of rows, w_dim), float32; None for anything else."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel() or not value.ndim:
        return None
    codes: Tensor = value.float()
    width = codes.shape[-1]
    if codes.ndim <= 3 and width == w_dim:
        if codes.ndim == 1 or (codes.ndim == 2 and len(codes) not in rows):
            codes = codes.reshape(-1, 1, w_dim)
        elif codes.ndim == 2:
            codes = codes[None]
        return codes if codes.shape[1] in (1, *rows) else None
    if codes.ndim <= 2 and width in (w_dim * count for count in rows):
        return codes.reshape(-1, width // w_dim, w_dim)
    return None

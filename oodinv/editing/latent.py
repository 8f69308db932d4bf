"""Edits of latent codes w_plus (B, num_ws, w_dim) by pure functions.

The steps have a fixed order: truncation, interpolation, style mixing, then the sum of all directions, so that the order
in which a recipe lists its directions does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ScoreTarget:
    """Score to reach along a direction; unit (num_ws, w_dim) is the direction at strength 1."""

    unit: Tensor
    score: float


@dataclass(frozen=True, eq=False)
class LatentEdit:
    """Edit of a latent code; by default it changes nothing.

    truncation: factor ψ on the distance to the average code. towards (num_ws, w_dim), amount: a code to interpolate to,
    and the share of it. mixed (num_ws, w_dim), layers: a code to copy rows from, and their indices. deltas
    (num_ws, w_dim): directions times their strengths. targets: see `ScoreTarget`.
    """

    truncation: float = 1.0
    towards: Tensor | None = None
    amount: float = 0.0
    mixed: Tensor | None = None
    layers: tuple[int, ...] = ()
    deltas: Sequence[Tensor] = ()
    targets: Sequence[ScoreTarget] = ()

    @property
    def changes_codes(self) -> bool:
        """False if every code stays as it is."""
        interpolates = self.towards is not None and self.amount != 0
        moves = bool(self.targets) or any(bool(delta.any()) for delta in self.deltas)
        return self.truncation != 1.0 or interpolates or self.mixed is not None or moves


def apply_edit(edit: LatentEdit, w_plus: Tensor, w_avg: Tensor) -> Tensor:
    """Applies an edit to w_plus (B, num_ws, w_dim); w_avg (num_ws, w_dim) is the average code. → (B, num_ws, w_dim).

    An edit without steps returns exactly the same values.

    Raises:
        ValueError: the directions of two targets are linearly dependent.
    """
    edited = w_plus
    if edit.truncation != 1.0:
        edited = w_avg + edit.truncation * (edited - w_avg)
    if edit.towards is not None and edit.amount != 0:
        edited = edited.lerp(edit.towards.expand_as(edited), edit.amount)
    if edit.mixed is not None:
        rows = list(edit.layers)
        edited = edited.clone()
        edited[:, rows] = edit.mixed[rows]
    if edit.deltas:
        edited = edited + order_independent_sum(edit.deltas)
    return reach_scores(edited, w_avg, edit.targets) if edit.targets else edited


def order_independent_sum(deltas: Sequence[Tensor]) -> Tensor:
    """Sums tensors of one shape with a result that is bitwise independent of their order.

    Each element's terms are sorted, then added in double precision.
    """
    return torch.stack([delta.double() for delta in deltas]).sort(dim=0).values.sum(dim=0).to(deltas[0].dtype)


def score(w_plus: Tensor, w_avg: Tensor, unit: Tensor) -> Tensor:
    """Position of codes (B, num_ws, w_dim) along a direction, (B,), in units of its strength; the average code is at 0.

    s = ⟨w − w̄, u⟩ / ⟨u, u⟩, so that adding t·u raises the score by t.
    """
    flat = unit.double().flatten()
    return torch.mv((w_plus - w_avg).double().flatten(1), flat / flat.square().sum())


def reach_scores(w_plus: Tensor, w_avg: Tensor, targets: Sequence[ScoreTarget]) -> Tensor:
    """Moves codes along the targets' directions so that all target scores are reached together. → (B, num_ws, w_dim).

    With directions u_i and scores s_i, solves Σ_j t_j ⟨u_i, u_j⟩ / ⟨u_i, u_i⟩ = target_i − s_i(w) for the strengths t
    of each code.

    Raises:
        ValueError: the directions are linearly dependent.
    """
    units = torch.stack([target.unit.double().flatten() for target in targets])
    gram = units @ units.t() / units.square().sum(dim=1, keepdim=True)
    if torch.linalg.matrix_rank(gram, rtol=1e-6) < len(targets):
        raise ValueError("two targets lie along the same direction")
    missing = torch.stack([target.score - score(w_plus, w_avg, target.unit) for target in targets], dim=1)
    strengths: Tensor = torch.linalg.solve(gram, missing.t()).t()
    edited: Tensor = w_plus + (strengths @ units).reshape(w_plus.shape).to(w_plus.dtype)
    return edited

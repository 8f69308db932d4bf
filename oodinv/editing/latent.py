"""Editing of latent codes: pure functions of w_plus (B, num_ws, w_dim) and of what is asked for.

The steps have a fixed order: truncation, interpolation, style mixing, and then all directions at once, as a sum,
so that the order in which directions are listed makes no difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Target:
    """A direction to follow until its score is reached. unit (num_ws, w_dim): what a strength of 1 adds."""

    unit: Tensor
    score: float


@dataclass(frozen=True, eq=False)
class Plan:
    """What becomes of a latent code.

    truncation ψ: distance to the average that is kept. towards (num_ws, w_dim) and amount: another person's code
    and the share of it. mixed (num_ws, w_dim) and layers: another person's code and the rows taken from it.
    deltas (num_ws, w_dim): what directions of a given strength add. targets: see `Target`.
    """

    truncation: float = 1.0
    towards: Tensor | None = None
    amount: float = 0.0
    mixed: Tensor | None = None
    layers: tuple[int, ...] = ()
    deltas: Sequence[Tensor] = ()
    targets: Sequence[Target] = ()


def apply(plan: Plan, w_plus: Tensor, w_avg: Tensor) -> Tensor:
    """w_plus (B, num_ws, w_dim) edited; w_avg (num_ws, w_dim) is the average face's code.

    A plan that asks for nothing returns the very values it was given.

    Raises:
        ValueError: two targets contradict each other.
    """
    edited = w_plus
    if plan.truncation != 1.0:
        edited = w_avg + plan.truncation * (edited - w_avg)
    if plan.towards is not None and plan.amount != 0:
        edited = edited.lerp(plan.towards.expand_as(edited), plan.amount)
    if plan.mixed is not None:
        rows = list(plan.layers)
        edited = edited.clone()
        edited[:, rows] = plan.mixed[rows]
    if plan.deltas:
        edited = edited + total(plan.deltas)
    return reached(edited, w_avg, plan.targets) if plan.targets else edited


def total(deltas: Sequence[Tensor]) -> Tensor:
    """Sum of tensors of one shape, the same to the last bit in any order.

    Each element's terms are sorted before they are added in double precision.
    """
    return torch.stack([delta.double() for delta in deltas]).sort(dim=0).values.sum(dim=0).to(deltas[0].dtype)


def score(w_plus: Tensor, w_avg: Tensor, unit: Tensor) -> Tensor:
    """Where codes (B, num_ws, w_dim) lie along a direction, in units of its strength, the average face at 0. (B,).

    s = ⟨w − w̄, u⟩ / ⟨u, u⟩, so that adding t·u raises the score by t.
    """
    flat = unit.double().flatten()
    return torch.mv((w_plus - w_avg).double().flatten(1), flat / flat.square().sum())


def reached(w_plus: Tensor, w_avg: Tensor, targets: Sequence[Target]) -> Tensor:
    """Moves codes along the targets' directions so that every target's score is reached at the same time.

    With unit vectors u_i and scores s_i, solves Σ_j t_j ⟨u_i, u_j⟩ / ⟨u_i, u_i⟩ = target_i − s_i(w) for the
    strengths t of each code.

    Raises:
        ValueError: the directions are not independent of each other.
    """
    units = torch.stack([target.unit.double().flatten() for target in targets])
    gram = units @ units.t() / units.square().sum(dim=1, keepdim=True)
    if torch.linalg.matrix_rank(gram, rtol=1e-6) < len(targets):
        raise ValueError("two targets lie along the same direction")
    missing = torch.stack([target.score - score(w_plus, w_avg, target.unit) for target in targets], dim=1)
    strengths: Tensor = torch.linalg.solve(gram, missing.t()).t()
    moved: Tensor = w_plus + (strengths @ units).reshape(w_plus.shape).to(w_plus.dtype)
    return moved

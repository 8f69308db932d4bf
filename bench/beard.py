"""Fits the direction of beards to pictures of the generator's own, by the darkness of chin and upper lip beside cheeks.

    python bench/beard.py OUT.npy [--faces 3000] [--seed 5]

Labels of beards are rare and rough; on generated pictures the face parser tells where a beard would be. The direction
is the mean change of the codes when the share of light that chin and upper lip lose against the cheeks changes alone:
sex, age, smile and yaw (scores by the model's directions), the brightness of cheeks, forehead and hair, and the width
of the mouth stay. What is left of darker cheeks is taken away by a second direction, for the brightness of cheeks and
forehead, in the proportion that leaves cheeks as they are on SETTLED of the faces.

The recipe ffhq-mobile for directions reads the file.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv import DEFAULT_MODEL, directions
from oodinv.directions.regress import partial_effect, standardise
from oodinv.faces.parts import PARTS, PartMap
from oodinv.imaging.pixels import luma
from oodinv.models.generators.base import map_latents
from oodinv.models.ops import resize
from oodinv.models.synthesis import synthesize
from oodinv.weights.build import Model, load_named
from oodinv.weights.parser import load_parser

Array = NDArray[np.float64]
BATCH = 10
TRUNCATION = 0.8
SIDE = 256
NAMES = ("chin", "upper_lip", "cheek", "forehead", "hair", "mouth")
LAYERS = range(3, 9)
SETTLED = 64
STEP = 7.0
"""Length of the step, in W, that is settled."""


def pictures(model: Model, w_plus: Tensor) -> Iterator[Tensor]:
    """Previews (B, 3, SIDE, SIDE) in [−1, 1] of codes (N, num_ws, w_dim)."""
    for some in w_plus.split(BATCH):
        yield resize(synthesize(model.generator, some, head=model.preview).clamp(-1, 1), SIDE)


def measured(picture: Tensor, parts: PartMap) -> list[float]:
    """`NAMES` of a picture (3, SIDE, SIDE): luma of regions in [0, 1], half the mouth's width; NaN where hidden."""
    side = len(parts)
    pixels = ((picture.permute(1, 2, 0).numpy() + 1) / 2).astype(np.float32)
    light = luma(pixels)[:: SIDE // side, :: SIDE // side]
    y, x = np.mgrid[:side, :side]
    skin, hair, nose, eye = (parts == PARTS.index(name) for name in ("skin", "hair", "nose", "eye"))
    mouth = np.isin(parts, [PARTS.index("lip"), PARTS.index("mouth")])
    if mouth.sum() < 30 or nose.sum() < 30 or eye.sum() < 4:
        return [float("nan")] * len(NAMES)
    middle, half = x[mouth].mean(), (x[mouth].max() - x[mouth].min()) / 2
    top, bottom, nostrils, eyes = y[mouth].min(), y[mouth].max(), y[nose].max(), y[eye].mean()
    beside = np.abs(x - middle)
    regions = (
        skin & (y > bottom + 2) & (y < bottom + 18) & (beside < half),
        skin & (y < top) & (y >= nostrils) & (beside < half),
        skin & (y > eyes + 6) & (y < nostrils) & (beside > 0.7 * half),
        skin & (y < eyes - 12),
        hair,
    )
    return [float(light[r].mean()) if r.sum() > 8 else float("nan") for r in regions] + [float(half)]


def measures(model: Model, w_plus: Tensor) -> Array:
    """`NAMES` of codes (N, num_ws, w_dim), (N, 6)."""
    parser, found = load_parser(), list[list[float]]()
    for batch in pictures(model, w_plus):
        found += [measured(p, parts) for p, parts in zip(batch, parser.parse(batch).numpy(), strict=True)]
    return np.array(found)


def main() -> None:
    """Fits the direction and writes it, float32 (1, rows, w_dim), the same in all rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_grad_enabled(False)
    model = load_named(DEFAULT_MODEL)
    generator = model.generator
    w = map_latents(generator, torch.randn(args.faces, generator.z_dim), TRUNCATION)
    values = measures(model, w[:, None].expand(-1, generator.num_ws, -1))
    usable = np.isfinite(values).all(axis=1)
    codes, values = w.numpy()[usable].astype(np.float64), values[usable]
    shipped = directions.shipped(model.card.name)
    units = [directions.read(shipped[name]).delta(1.0).double().numpy().mean(axis=0)
             for name in ("sex", "age", "smile", "yaw")]  # fmt: skip
    scores = np.column_stack([codes @ unit for unit in units])
    chin, upper_lip, cheek, forehead, hair, mouth = values.T
    beard = 1 - (chin + upper_lip) / 2 / cheek
    fixed = standardise(np.column_stack([scores, cheek, forehead, hair, mouth]))
    move = partial_effect(codes, standardise(beard[:, None])[:, 0], fixed)
    others = standardise(np.column_stack([scores, beard, hair]))
    light = partial_effect(codes, standardise((cheek + forehead)[:, None])[:, 0], others)
    move, light = (STEP * v / np.linalg.norm(v) for v in (move, light))

    start = torch.from_numpy(codes[:SETTLED]).float()[:, None].repeat(1, generator.num_ws, 1)

    def cheeks(step: Array) -> float:
        moved = start.clone()
        moved[:, list(LAYERS)] += torch.from_numpy(step).float()
        return float(np.nanmean(measures(model, moved)[:, NAMES.index("cheek")]))

    before = cheeks(0 * move)
    share = (before - cheeks(move)) / (cheeks(light) - before)
    rows = generator.num_ws + generator.spare_rows
    np.save(args.out, np.tile((move + share * light).astype(np.float32), (1, rows, 1)))
    change = cheeks(move + share * light) - before
    print(f"{usable.sum()} faces; {share:.2f} of the direction of light; cheeks {change:+.3f}")


if __name__ == "__main__":
    main()

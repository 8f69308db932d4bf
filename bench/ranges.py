"""Faces at both ends of the safe range of each shipped direction: whether they are still faces, and of the same person.

    python bench/ranges.py [--model NAME] [--faces 8] [--only age,smile] [--sheet FILE.png]

Prints, for the generator's own faces (truncation 0.7), YuNet's lowest score, the mean cosine of SFace's features with
the unedited face (0.36 and more is the same person by its authors), and the mean changes of yaw, pitch and mouth width
(`oodinv.directions.measures`). The sheet shows the unedited face and both ends, one row a face, to look at.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from oodinv import DEFAULT_MODEL, directions
from oodinv.backends import AUTO, select
from oodinv.backends.compiled import compile_generator
from oodinv.directions import measures
from oodinv.directions.discover import map_samples
from oodinv.faces.detectors.yunet import Yunet
from oodinv.imaging.encode import write_png
from oodinv.imaging.pixels import Pixels, resize_pixels, to_tensor, to_uint8
from oodinv.metrics.identity import Sface, identity
from oodinv.models.synthesis import synthesize
from oodinv.reporting.sheets import strip
from oodinv.weights.build import load_generator
from oodinv.weights.pull import pull

TRUNCATION, SEED, TILE = 0.7, 3, 256
SHOWN = ("yaw", "pitch", "smile")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures faces at the ends of directions' safe ranges.")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or card")
    parser.add_argument("--faces", type=int, default=8, help="faces to generate")
    parser.add_argument("--only", help="names of directions, separated by commas")
    parser.add_argument("--sheet", type=Path, help="PNG to write")
    options = parser.parse_args()
    model = load_generator(options.model)
    generator = model.generator
    backend = select(AUTO, "cpu", "float32")
    compiled = None if backend is None else compile_generator(model, backend, "fixed", print)
    detector, sface = Yunet(pull("yunet"), quick=True), Sface(pull("sface"), model.card.crop.scale)
    found = {name: directions.read(path) for name, path in directions.shipped(model.card.name).items()}
    wanted = found if options.only is None else {name: found[name] for name in options.only.split(",")}
    mapped = map_samples(generator, options.faces, SEED)
    assert mapped is not None
    average = generator.w_avg.reshape(-1, generator.w_dim)[:1]
    codes = (average + TRUNCATION * (mapped - average))[:, None].repeat(1, generator.num_ws, 1)

    def pictures(w_plus: torch.Tensor) -> list[Pixels]:
        with torch.inference_mode():
            made = synthesize(generator, w_plus, "fixed") if compiled is None else compiled.synthesize(
                w_plus, None, "fixed")[0]  # fmt: skip
        return list(to_uint8(made.clamp(-1, 1)))

    def embedded(crops: list[Pixels]) -> torch.Tensor:
        return sface.embed(torch.cat([to_tensor(crop) for crop in crops]))

    def seen(crop: Pixels) -> dict[str, float]:
        face = detector.detect(resize_pixels(crop, TILE))
        best = max(face, key=lambda f: f.score, default=None)
        return {"score": 0.0} if best is None else {"score": best.score, **measures.of_points(best.points)}

    before = pictures(codes)
    people, known = embedded(before), [seen(crop) for crop in before]
    rows = [[("unedited", resize_pixels(crop, TILE))] for crop in before]
    print(f"{'direction':12} {'at':>6} {'score':>6} {'SFace':>6} " + " ".join(f"{name:>7}" for name in SHOWN))
    for name, direction in wanted.items():
        for strength in direction.safe_range or ():
            after = pictures(codes + direction.delta(strength))
            faces = [seen(crop) for crop in after]
            same = float(identity(people, embedded(after)).mean())
            changes = [
                np.nanmean([b.get(key, np.nan) - a[key] for a, b in zip(known, faces, strict=True)]) for key in SHOWN
            ]
            print(f"{name:12} {strength:+6.2f} {min(face['score'] for face in faces):6.2f} {same:6.2f} "
                  + " ".join(f"{change:+7.3f}" for change in changes), flush=True)  # fmt: skip
            for row, crop in zip(rows, after, strict=True):
                row.append((f"{name} {strength:+g}", resize_pixels(crop, TILE)))
    if options.sheet is not None:
        write_png(options.sheet, np.vstack([strip(row) for row in rows]), b"")


if __name__ == "__main__":
    main()

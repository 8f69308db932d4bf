"""Labels of faces by CelebAMask-HQ's maps of their parts, for a fit of directions.

    python bench/face_parts.py CELEBAHQ MASKS --limit 1500 > recipes/directions/celebahq-parts.csv

CELEBAHQ: FFHQ-framed photos. MASKS: PNG files of the same names whose pixels are CelebAMask-HQ's classes. Prints CSV;
a label is empty where a face lacks what it is measured on:

| label | meaning |
|---|---|
| glasses | 1 with eyeglasses, else 0 |
| mouth_open | area between the lips, relative to that of mouth and lips |
| eyes_open | area of the eyes, relative to the square of their width; without glasses |
| hair_light, hair_warm | mean L* and b* of the hair |
| hair_share | area of the hair, relative to the picture |
| lips_red | mean a* of the lips, less that of the cheeks |
| lids_dark | L* of the cheeks, less that of the skin between eyes and brows |
| beard | L* of the cheeks, less that of chin and upper lip, relative to that of the cheeks |
| skin_light, skin_warm | median L* and b* of the cheeks |
"""

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oodinv.imaging.decode import read_photo
from oodinv.imaging.pixels import Pixels
from oodinv.runs.collect import collect
from oodinv.workflows.encode import sample

SKIN, NOSE, GLASSES, EYES, BROWS, INNER, LIPS, HAIR = 1, 2, 3, (4, 5), (6, 7), 10, (11, 12), 13
"""Classes of CelebAMask-HQ."""

GLASSES_SHARE, HAIR_SHARE = 0.004, 0.03
"""Least areas, relative to the picture, of glasses and of hair whose colour is measured."""

FEWEST = 12
"""Smallest number of pixels of which a median is taken."""

Map = NDArray[np.uint8]
Where = NDArray[np.bool_]


def labels(photo: Pixels, parts: Map) -> dict[str, float]:
    """Labels of a photo uint8 (S, S, 3) with its map of classes (S, S); what can't be measured is left out."""
    lab = np.asarray(cv2.cvtColor(photo.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    lips, inner, hair = np.isin(parts, LIPS), parts == INNER, parts == HAIR
    has_glasses = bool((parts == GLASSES).mean() > GLASSES_SHARE)
    found = {"glasses": float(has_glasses), "hair_share": float(hair.mean())}
    if lips.any():
        found["mouth_open"] = float(inner.sum() / (inner | lips).sum())
    if not has_glasses and (openness := eyes_open(parts)) is not None:
        found["eyes_open"] = openness
    if hair.mean() > HAIR_SHARE:
        found |= {"hair_light": float(lab[hair, 0].mean()), "hair_warm": float(lab[hair, 2].mean())}
    cheeks = cheek_pixels(parts)
    if cheeks is None or not lips.any():
        return found
    light, red, warm = (float(value) for value in np.median(lab[cheeks], axis=0))
    found |= {"skin_light": light, "skin_warm": warm, "lips_red": float(lab[lips, 1].mean()) - red}
    if (lids := lid_pixels(parts)).sum() >= FEWEST:
        found["lids_dark"] = light - float(np.median(lab[lids, 0]))
    grown = [where for where in beard_pixels(parts) if where.sum() >= FEWEST]
    if len(grown) == 2:
        dark = np.mean([np.median(lab[where, 0]) for where in grown])
        found["beard"] = float((light - dark) / light)
    return found


def eyes_open(parts: Map) -> float | None:
    """Area of the eyes, relative to the square of their width; None unless both are seen."""
    opened = []
    for eye in EYES:
        columns = np.flatnonzero((parts == eye).any(axis=0))
        if len(columns) < FEWEST:
            return None
        opened.append(float((parts == eye).sum()) / len(columns) ** 2)
    return float(np.mean(opened))


def cheek_pixels(parts: Map) -> Where | None:
    """Skin beside the nose, between the eyes and the mouth; None if one of these is missing."""
    eyes, lips = np.isin(parts, EYES).any(axis=1), np.isin(parts, LIPS).any(axis=1)
    if not eyes.any() or not lips.any():
        return None
    rows = np.zeros(parts.shape, dtype=bool)
    rows[np.flatnonzero(eyes)[-1] : np.flatnonzero(lips)[0]] = True
    cheeks: Where = (parts == SKIN) & rows
    return cheeks if cheeks.sum() >= FEWEST else None


def lid_pixels(parts: Map) -> Where:
    """Skin between each eye and its brow."""
    found = np.zeros(parts.shape, dtype=bool)
    for eye, brow in zip(EYES, BROWS, strict=True):
        below, above = (np.argwhere(parts == part) for part in (eye, brow))
        if len(below) and len(above):
            left, right = below[:, 1].min(), below[:, 1].max()
            found[above[:, 0].max() : below[:, 0].min(), left : right + 1] = True
    lids: Where = found & (parts == SKIN)
    return lids


def beard_pixels(parts: Map) -> tuple[Where, Where]:
    """Skin of the upper lip and of the chin, as wide as the mouth."""
    mouth, nose = np.argwhere(np.isin(parts, LIPS)), np.argwhere(parts == NOSE)
    upper, chin = np.zeros(parts.shape, dtype=bool), np.zeros(parts.shape, dtype=bool)
    (top, left), (bottom, right) = mouth.min(axis=0), mouth.max(axis=0)
    if len(nose):
        upper[nose[:, 0].max() : top + 3, left:right] = True
    chin[bottom + 1 :, left:right] = True
    return upper & (parts == SKIN), chin & (parts == SKIN)


NAMES = ("glasses", "mouth_open", "eyes_open", "hair_light", "hair_warm", "hair_share", "lips_red", "lids_dark", "beard",
         "skin_light", "skin_warm")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Labels photos by maps of their parts.")
    parser.add_argument("photos", type=Path, help="folder of FFHQ-framed photos, one face each")
    parser.add_argument("masks", type=Path, help="folder of maps, PNG, with the same names")
    parser.add_argument("--limit", type=int, help="photos at most: those that a fit with the same limit takes")
    options = parser.parse_args()
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["file", *NAMES])
    for job in sample(collect([options.photos]), options.limit):
        path = options.masks / f"{job.name}.png"
        if not path.is_file():
            continue
        photo = read_photo(job.path).pixels
        with Image.open(path) as image:  # of palette colours: its values are the classes
            parts = np.asarray(image.resize(photo.shape[1::-1], Image.Resampling.NEAREST), dtype=np.uint8)
        found = labels(photo, parts)
        table.writerow([job.name + job.path.suffix, *(f"{found[n]:.4g}" if n in found else "" for n in NAMES)])


if __name__ == "__main__":
    main()

"""Processor seconds of finding and cutting out one face, by stage, and the corner error of re-alignment.

    python bench/detection.py FOLDER [--side 600] [--size 256] [--limit 32] [--json]

FOLDER holds photos that are aligned as FFHQ's are, so that the crop found should be the photo itself. They are shrunk
to `--side` first. The corner error is the mean distance between the corners of both, as a share of the side.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from oodinv.faces import align as alignment
from oodinv.faces.align import align
from oodinv.faces.crop import crop, rough_crop
from oodinv.faces.detectors import yunet
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points, quad_side
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import read_photo
from oodinv.imaging.formats import suffix_kind
from oodinv.imaging.pixels import resize_pixels
from oodinv.weights.pull import pull

R = TypeVar("R")


def counted(spent: Counter[str], stage: str, work: Callable[..., R]) -> Callable[..., R]:
    """The same function, which adds the processor seconds that it takes to a stage."""

    def timed(*args: object, **options: object) -> R:
        start = time.process_time()
        try:
            return work(*args, **options)
        finally:
            spent[stage] += time.process_time() - start  # type: ignore[assignment]

    return timed


def corner_error(quad: Points, ideal: Points) -> float:
    """Mean distance of the corners as a share of the ideal's side."""
    return float(np.hypot(*(quad - ideal).T).mean()) / quad_side(ideal)


def main() -> None:
    parser = argparse.ArgumentParser(description="Processor seconds of finding one face, by stage.")
    parser.add_argument("folder", type=Path, help="photos that are aligned as FFHQ's are")
    parser.add_argument("--side", type=int, default=600, help="pixels to which they are shrunk")
    parser.add_argument("--size", type=int, default=256, help="side of the crops")
    parser.add_argument("--limit", type=int, default=32, help="most photos to look at")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    spent: Counter[str] = Counter()
    detector = Yunet(pull("yunet"))
    detector._look = counted(spent, "network", detector._look)  # type: ignore[method-assign]
    vars(yunet)["rough_crop"] = counted(spent, "views", rough_crop)
    vars(alignment)["crop"] = counted(spent, "crop", crop)
    errors = []
    paths = [path for path in sorted(options.folder.iterdir()) if suffix_kind(path) == "readable"][: options.limit]
    side = options.side
    frame = np.array([[0, 0], [0, side], [side, side], [side, 0]], dtype=np.float64)
    whole = 0.0
    for path in paths:
        pixels = resize_pixels(read_photo(path).pixels, side)
        start = time.process_time()
        (face,) = align(pixels, detector, options.size, ffhq_quad, LARGEST).faces
        whole += time.process_time() - start
        errors.append(corner_error(face.quad, frame))
    seconds = {stage: total / len(paths) for stage, total in spent.items()} | {"all": whole / len(paths)}
    found = {"corner error": {"mean": float(np.mean(errors)), "median": float(np.median(errors)), "max": max(errors)}}
    if options.json:
        print(json.dumps(found | {"seconds": seconds}))
        return
    for stage, average in seconds.items():
        print(f"{stage:>8} {1000 * average:7.1f} ms")
    print(", ".join(f"{name} {100 * value:.2f} %" for name, value in found["corner error"].items()), "corner error")


if __name__ == "__main__":
    main()

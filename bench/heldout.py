"""Scores a model on the faces of a folder that training leaves out (one file in twenty, by the hash of its bytes).

    python bench/heldout.py FACES [--model mini] [--limit 600] [--json]

Prints, as means over the faces: LPIPS (AlexNet, faces below 128 px enlarged to it) and PSNR of the generated image and
of the composite; mask area; PSNR of the in-domain region, also for the same model with flows set to zero; and how much
larger the mask is on occluders that are pasted on than on the skin beside them.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from oodinv.benchmark.ablations import EncodedBatch, without_flow
from oodinv.errors import ImageError
from oodinv.faces.crop import crop
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points
from oodinv.faces.selection import face_size
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.pixels import Pixels, to_tensor
from oodinv.inversion import decode, encode, inference, invert
from oodinv.metrics.pixel import psnr
from oodinv.models.perceptors.lpips import Lpips
from oodinv.training.losses import lpips_each
from oodinv.training.occluders import OUTLINES, Outline, mask_contrast, occlude
from oodinv.training.photos import is_held_out, list_images
from oodinv.weights.build import Model, load_lpips, load_named
from oodinv.weights.pull import pull

BATCH = 32
T = TypeVar("T")


def batched(items: list[T]) -> Iterator[list[T]]:
    """The items, `BATCH` at a time."""
    return (items[i : i + BATCH] for i in range(0, len(items), BATCH))


def held_out_photos(folder: Path) -> Iterator[tuple[Pixels, Points]]:
    """Each photo that training leaves out, with the five points of its largest face, in the order of their names."""
    detector = Yunet(pull("yunet"), quick=True)
    for path in list_images(folder):
        content = path.read_bytes()
        if is_held_out(content):
            try:
                pixels = decode_photo(content, path).pixels
            except ImageError:
                continue
            if found := detector.detect(pixels):
                yield pixels, max(found, key=face_size).points


def held_out_faces(folder: Path, model: Model) -> Iterator[Pixels]:
    """The faces of `held_out_photos`, cropped for a model, uint8 (S, S, 3)."""
    card = model.card
    return (crop(pixels, ffhq_quad(points, card.crop.scale), card.size) for pixels, points in held_out_photos(folder))


def scores(model: Model, lpips: Lpips, images: Tensor) -> dict[str, Tensor]:
    """Each score of each face: images (B, 3, S, S) in [−1, 1] → {name: (B,)}."""
    encoding = encode(model, images)
    found = decode(model, images, encoding.w_plus.float(), encoding)
    still = without_flow(EncodedBatch(model, images, encoding, found, torch.float32)).generated
    generated = found.generated.clamp(-1, 1)
    with inference(images.device, torch.float32):
        return {
            "generated_lpips": lpips_each(lpips, generated, images),
            "generated_psnr": psnr(generated, images),
            "composite_lpips": lpips_each(lpips, found.composite.clamp(-1, 1), images),
            "composite_psnr": psnr(found.composite.clamp(-1, 1), images),
            "mask_area": found.mask.mean(dim=(1, 2, 3)),
            "in_domain_psnr": psnr(generated, images, 1 - found.mask),
            "in_domain_psnr_without_flow": psnr(still.clamp(-1, 1), images, 1 - found.mask),
        }


def contrast(model: Model, faces: list[Pixels], outline: Outline) -> float:
    """Mean of the mask on occluders of one outline, over that on free skin; fills alternate at random."""
    rng = np.random.default_rng(0)
    pasted = [occlude(face, rng, outline, photo=faces[n - 1]) for n, face in enumerate(faces)]
    masks = []
    for some in batched(pasted):
        images = torch.cat([to_tensor(p.pixels) for p in some])
        masks.append(invert(model, images).mask)
    where = torch.from_numpy(np.stack([p.where for p in pasted]))[:, None]
    return mask_contrast(torch.cat(masks), where).ratio


def measure(model: Model, faces: list[Pixels]) -> dict[str, float]:
    """All that this script prints."""
    lpips = load_lpips("alexnet")
    found: dict[str, list[Tensor]] = {}
    for some in batched(faces):
        for name, values in scores(model, lpips, torch.cat([to_tensor(face) for face in some])).items():
            found.setdefault(name, []).append(values)
    means = {name: torch.cat(values).mean().item() for name, values in found.items()}
    return means | {f"mask_on_{outline}_over_skin": contrast(model, faces, outline) for outline in OUTLINES}


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores a model on faces that training leaves out.")
    parser.add_argument("faces", type=Path, help="folder of photos")
    parser.add_argument("--model", default="mini", help="name or card")
    parser.add_argument("--limit", type=int, default=600, help="most faces to look at")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    model = load_named(options.model)
    faces = list(islice(held_out_faces(options.faces, model), options.limit))
    found = {"faces": len(faces)} | measure(model, faces)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:32} {value:.4f}")


if __name__ == "__main__":
    main()

"""Scores a model on the faces of a folder that training leaves out (one file in twenty, by the hash of its bytes).

    python bench/heldout.py FACES [--model NAME] [--refine N] [--aligned] [--all] [--labels FOLDER] [--limit 64]
                                  [--occluded N] [--outlines shape,text,hat,limb]

Prints, as means over the faces, at 256 px: LPIPS (AlexNet), PSNR and SFace similarity of the generated image and of the
composite; mask area; PSNR of the in-domain region, also for the same model with flows set to zero; how much larger the
mask is on occluders that are pasted on than on the skin beside them; and with label maps of CelebAMask-HQ, the mask's
mean on what it should keep, over that on skin.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from oodinv import DEFAULT_MODEL
from oodinv.benchmark.ablations import EncodedBatch, without_flow
from oodinv.cli.memory import tune_allocator
from oodinv.errors import ImageError
from oodinv.faces.crop import crop
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points
from oodinv.faces.selection import face_size
from oodinv.fitting.refinement import Refiner, refiner_for
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.pixels import Pixels, resize_pixels, to_tensor
from oodinv.inversion import inference, invert
from oodinv.metrics.identity import Sface
from oodinv.metrics.pixel import psnr
from oodinv.models.encoders.base import Encoding
from oodinv.models.ops import average_resize
from oodinv.models.perceptors.lpips import Lpips
from oodinv.training.losses import lpips_each
from oodinv.training.occluders import OUTLINES, Outline, mask_contrast, occlude
from oodinv.training.photos import is_held_out, list_images
from oodinv.weights.build import Model, load_lpips, load_named
from oodinv.weights.pull import pull

BATCH = 4
SIZE = 256
"""Side in pixels at which pictures are compared, or the model's where that is smaller."""
KEPT = {"eyeglasses": 3, "hat": 14, "earring": 15, "necklace": 16, "cloth": 18}
SKIN = 1
"""Classes of CelebAMask-HQ."""


@dataclass(frozen=True, eq=False)
class Face:
    """A crop, uint8 (S, S, 3), and its label map, uint8 (S, S), if there is one."""

    crop: Pixels
    labels: Pixels | None = None


def photos(folder: Path, everything: bool) -> Iterator[tuple[Path, Pixels]]:
    """The photos that training leaves out, or all, in the order of their names."""
    images, _ = list_images(folder)
    for path in images:
        content = path.read_bytes()
        if everything or is_held_out(content):
            try:
                yield path, decode_photo(content, path).pixels
            except ImageError:
                continue


def held_out_photos(folder: Path) -> Iterator[tuple[Pixels, Points]]:
    """Each photo that training leaves out, with the five points of its largest face, in the order of their names."""
    detector = Yunet(pull("yunet"), quick=True)
    for _, pixels in photos(folder, everything=False):
        if found := detector.detect(pixels):
            yield pixels, max(found, key=face_size).points


def held_out_faces(folder: Path, model: Model) -> Iterator[Pixels]:
    """The faces of `held_out_photos`, cropped for a model, uint8 (S, S, 3)."""
    card = model.card
    return (crop(pixels, ffhq_quad(points, card.crop.scale), card.size) for pixels, points in held_out_photos(folder))


def aligned_faces(folder: Path, size: int, everything: bool, labels: Path | None) -> Iterator[Face]:
    """Photos that are crops already, with their label maps."""
    for path, pixels in photos(folder, everything):
        file = None if labels is None else (labels / path.relative_to(folder)).with_suffix(".png")
        found = None
        if file is not None and file.is_file():
            with Image.open(file) as picture:
                found = np.array(picture.resize((size, size), Image.Resampling.NEAREST))
        yield Face(resize_pixels(pixels, size), found)


class Scores:
    """Scores of faces, one after another."""

    def __init__(self, model: Model, lpips: Lpips, refiner: Refiner | None) -> None:
        self.model, self.lpips, self.refiner = model, lpips, refiner
        self.sface = Sface(pull("sface"), model.card.crop.scale)
        self.found: dict[str, list[float]] = {}

    def add(self, face: Face) -> None:
        """Inverts a face and scores the result."""
        images = to_tensor(face.crop)
        start = time.perf_counter()
        inversion = invert(self.model, images, refiner=self.refiner)
        self.found.setdefault("seconds", []).append(time.perf_counter() - start)
        encoding = Encoding(inversion.w_plus, {})
        still = without_flow(EncodedBatch(self.model, images, encoding, inversion, torch.float32)).generated
        mask = inversion.mask
        with inference(images.device, torch.float32):
            small, drawn, composite, unmoved, region = (
                average_resize(x.clamp(-1, 1), min(SIZE, x.shape[-1]))
                for x in (images, inversion.generated, inversion.composite, still, 1 - mask)
            )
            person = self.sface.embed(small)
            values = {
                "mask_area": mask.mean(),
                "in_domain_psnr": psnr(drawn, small, region),
                "in_domain_psnr_without_flow": psnr(unmoved, small, region),
            }
            for name, picture in (("generated", drawn), ("composite", composite)):
                values[f"{name}_lpips"] = lpips_each(self.lpips, picture, small)
                values[f"{name}_psnr"] = psnr(picture, small)
                values[f"{name}_sface"] = (self.sface.embed(picture) * person).sum(dim=1)
        for name, value in values.items():
            self.found.setdefault(name, []).append(float(value))
        if face.labels is not None:
            self._add_labels(mask[0, 0].numpy(), face.labels)

    def _add_labels(self, mask: np.ndarray, labels: Pixels) -> None:
        for name, value in ({"skin": SKIN} | KEPT).items():
            if (labels == value).sum() >= 50:
                self.found.setdefault(f"mask_on_{name}", []).append(float(mask[labels == value].mean()))

    def means(self) -> dict[str, float]:
        """Mean of each score."""
        return {name: float(np.mean(values)) for name, values in self.found.items()}


def contrast(model: Model, faces: list[Pixels], outline: Outline) -> float:
    """Mean of the mask on occluders of one outline, over that on free skin; fills alternate at random."""
    rng = np.random.default_rng(0)
    pasted = [occlude(face, rng, outline, photo=faces[n - 1]) for n, face in enumerate(faces)]
    masks = [invert(model, torch.cat([to_tensor(p.pixels) for p in pasted[n : n + BATCH]])).mask
             for n in range(0, len(pasted), BATCH)]  # fmt: skip
    where = torch.from_numpy(np.stack([p.where for p in pasted]))[:, None]
    return mask_contrast(torch.cat(masks), where).ratio


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores a model on faces that training leaves out.")
    parser.add_argument("faces", type=Path, help="folder of photos")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or card")
    parser.add_argument("--refine", type=int, help="steps; by default the card's")
    parser.add_argument("--aligned", action="store_true", help="the photos are FFHQ-framed crops")
    parser.add_argument("--all", action="store_true", help="all photos, where none of the folder was trained on")
    parser.add_argument("--labels", type=Path, help="folder of label maps of aligned crops")
    parser.add_argument("--limit", type=int, default=64, help="most faces to look at")
    parser.add_argument("--occluded", type=int, help="faces that occluders are pasted on; by default all")
    parser.add_argument("--outlines", default=",".join(OUTLINES), help="outlines of the occluders")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    tune_allocator()  # as the command line does
    model = load_named(options.model)
    size = model.card.size
    every = (
        aligned_faces(options.faces, size, options.all, options.labels)
        if options.aligned
        else (Face(pixels) for pixels in held_out_faces(options.faces, model))
    )
    faces = list(islice(every, options.limit))
    scores = Scores(model, load_lpips("alexnet"), refiner_for(model, options.refine))
    for face in faces:
        scores.add(face)
    found: dict[str, float] = {"faces": len(faces)} | scores.means()
    crops = [face.crop for face in faces[: options.occluded]]
    if model.samm is not None and crops:
        outlines = [outline for outline in OUTLINES if outline in options.outlines.split(",")]
        found |= {f"mask_on_{outline}_over_skin": contrast(model, crops, outline) for outline in outlines}
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:32} {value:.4f}")


if __name__ == "__main__":
    main()

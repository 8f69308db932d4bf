"""Scores of one batch: each metric of a protocol, at its size."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from oodinv.errors import MissingWeights
from oodinv.imaging.pixels import Pixels, levels_of, signed, to_tensor
from oodinv.metrics import pixel, structure
from oodinv.metrics.identity import Sface, arcface, identity
from oodinv.metrics.perceptual import lpips
from oodinv.models.perceptors.arcface import Recognition
from oodinv.models.perceptors.inception import Inception
from oodinv.models.perceptors.lpips import Backbone, Lpips
from oodinv.recipe.benchmark import BenchmarkRecipe, MetricName, MetricUse
from oodinv.weights.build import load_lpips
from oodinv.weights.families import build_inception, build_recognition
from oodinv.weights.pull import pull
from oodinv.weights.reading.read import read
from oodinv.weights.translation import Translation, translate

REGIONAL: frozenset[MetricName] = frozenset(
    {"psnr", "psnr_peak_sqrt2", "ssim", "ms_ssim", "mse_unit", "mse_pm1", "mae_pm1", "lpips_alexnet", "lpips_vgg16"}
)
"""Metrics that can be restricted to a region; identity belongs to a whole face."""


@dataclass(frozen=True)
class Judges:
    """The networks that metrics need, on one device (SFace on the CPU).

    notes say which metrics are left out for want of a file that only a person may fetch, and where it comes from.
    """

    crop_scale: float
    lpips: dict[Backbone, Lpips]
    sface: Sface | None
    arcface: Recognition | None
    inception: Inception | None
    notes: tuple[str, ...]

    def can(self, metric: MetricName) -> bool:
        """Whether a metric's network is at hand."""
        return metric != "identity_arcface" or self.arcface is not None


def load_judges(recipe: BenchmarkRecipe, crop_scale: float, device: torch.device, *, edits: bool = False) -> Judges:
    """The networks that a protocol's metrics need, and scores of edits if they are wanted; fetched if need be.

    Raises:
        WeightsError: one can't be had, or its file is damaged or another network.
    """
    used = {use.metric for use in recipe.metrics}
    backbones: tuple[Backbone, ...] = ("alexnet", "vgg16")
    networks = {name: load_lpips(name).to(device).eval() for name in backbones if f"lpips_{name}" in used}
    wants_sface = "identity_sface" in used or recipe.frechet or edits
    notes = list[str]()
    sources = {
        name: _by_file(name, metric, notes)
        for name, metric, wanted in (
            ("arcface-ir-se50", "ID (ArcFace)", "identity_arcface" in used),
            ("fid-inception", "FID", recipe.fid),
        )
        if wanted
    }
    faces, features = sources.get("arcface-ir-se50"), sources.get("fid-inception")
    return Judges(
        crop_scale=crop_scale,
        lpips=networks,
        sface=Sface(pull("sface"), crop_scale) if wants_sface else None,
        arcface=None if faces is None else build_recognition(faces).to(device),
        inception=None if features is None else build_inception(features).to(device),
        notes=tuple(notes),
    )


def _by_file(name: str, metric: str, notes: list[str]) -> Translation | None:
    """A file that only a person may fetch; None, and a note, where it isn't there."""
    try:
        return translate(read(pull(name)))
    except MissingWeights as missing:
        notes.append(f"{metric} is not measured: {missing}")
        return None


def as_saved(images: Tensor) -> Tensor:
    """Pictures as a file holds them: clipped, rounded to 8 bits. (B, 3, H, W) → same shape, in [−1, 1]."""
    return signed(levels_of(images).round().clamp(0, 255))


def at_size(images: Tensor, size: int | None) -> Tensor:
    """Resized bilinearly, anti-aliased when shrinking. (B, C, H, W) → (B, C, size, size)."""
    if size is None or images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def score(
    uses: Iterable[MetricUse], judges: Judges, reference: Tensor, result: Tensor, weight: Tensor | None = None
) -> dict[str, list[float]]:
    """Scores of results (B, 3, H, W) against references (B, 3, R, R), both in [−1, 1], by the metrics' keys.

    weight (B, 1, H, W) restricts them to a region; metrics that can't be restricted are then left out.
    """
    scores = {}
    with torch.inference_mode():
        for use in uses:
            if not judges.can(use.metric) or (weight is not None and use.metric not in REGIONAL):
                continue
            size = use.size or result.shape[-1]
            a, b = at_size(reference, size), at_size(result, size)
            values = _measure(use.metric, judges, a, b, None if weight is None else at_size(weight, size))
            scores[use.key] = [float(v) for v in values.cpu()]
    return scores


def _measure(metric: MetricName, judges: Judges, a: Tensor, b: Tensor, weight: Tensor | None) -> Tensor:
    match metric:
        case "psnr":
            return pixel.psnr(a, b, weight)
        case "psnr_peak_sqrt2":
            return pixel.psnr_peak_sqrt2(a, b, weight)
        case "mse_unit":
            return pixel.mse_unit(a, b, weight)
        case "mse_pm1":
            return pixel.mse_pm1(a, b, weight)
        case "mae_pm1":
            return pixel.mae_pm1(a, b, weight)
        case "ssim":
            return structure.ssim(a, b, weight)
        case "ms_ssim":
            return structure.ms_ssim(a, b, weight)
        case "lpips_alexnet":
            return lpips(judges.lpips["alexnet"], a, b, weight)
        case "lpips_vgg16":
            return lpips(judges.lpips["vgg16"], a, b, weight)
        case "identity_sface":
            assert judges.sface is not None
            return identity(judges.sface.embed(a), judges.sface.embed(b))
        case "identity_arcface":
            assert judges.arcface is not None
            return identity(*(arcface(judges.arcface, x, judges.crop_scale) for x in (a, b)))


def to_batch(crops: list[Pixels], device: torch.device) -> Tensor:
    """Crops uint8 (S, S, 3) of one size → float32 (B, 3, S, S) in [−1, 1] on a device."""
    return torch.cat([to_tensor(crop) for crop in crops]).to(device)

"""LPIPS, optionally weighted to a region."""

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from oodinv.metrics.base import Measure, Metric, Setting
from oodinv.metrics.pixel import weighted_mean
from oodinv.models.perceptors.lpips import Lpips
from oodinv.weights.build import load_lpips


def lpips(network: Lpips, a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """LPIPS v0.1 of pictures a, b (B, 3, H, W) in [−1, 1] → (B,), 0 for equal ones.

    weight (B, 1, H, W) is averaged down to the size of each feature map and weights its pixels. Receptive fields
    reach beyond the region, so pixels just outside it still have a small influence.
    Source: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (Zhang et al., CVPR 2018).
    """
    if weight is None:
        return network(a, b).double()  # type: ignore[no-any-return]
    terms = []
    for x, y, head in zip(network.features(a), network.features(b), network.heads, strict=True):
        distance = ((x - y).square() * head[:, None, None]).sum(dim=1, keepdim=True)
        terms.append(weighted_mean(distance, F.adaptive_avg_pool2d(weight, (x.shape[2], x.shape[3]))))
    return torch.stack(terms).sum(dim=0)


def _load(backbone: str, setting: Setting) -> Measure:
    return partial(lpips, load_lpips(backbone).to(setting.device).eval())


LPIPS_ALEXNET = Metric("lpips_alexnet", "LPIPS-Alex", "lower", 4, "LPIPS v0.1 with AlexNet", partial(_load, "alexnet"))
LPIPS_VGG16 = Metric("lpips_vgg16", "LPIPS-VGG", "lower", 4, "LPIPS v0.1 with VGG16", partial(_load, "vgg16"))

"""Levels to tensors and back, and blurs."""

import cv2
import numpy as np
import pytest
import torch
from shapes import smooth
from tolerances import LEVEL

from oodinv.imaging.pixels import blurred, to_tensor, to_uint8


@pytest.mark.parametrize("deviation", [2.0, 9.0, 32.0])
def test_a_wide_blur_is_gaussian(deviation: float) -> None:
    picture = smooth(512, 0) + 20 * np.random.default_rng(0).normal(size=(512, 512, 3)).astype(np.float32)
    inner = np.s_[128:384, 128:384]  # borders are mirrored a pixel differently
    exact = cv2.GaussianBlur(picture, (0, 0), deviation)
    np.testing.assert_allclose(blurred(picture, deviation)[inner], exact[inner], atol=LEVEL)
    assert blurred(picture[:3, :, 0], 32.0).shape == (3, 512)


def test_tensor_and_back_is_exact_and_clips() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    tensor = to_tensor(values)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(tensor), values)
    np.testing.assert_array_equal(to_uint8(torch.tensor([-3.0, 5.0]).reshape(1, 1, 1, 2)).ravel(), [0, 255])
    assert to_tensor(values[0]).shape == (1, 3, 16, 16)

"""Directions discovered without labels: SeFa and GANSpace."""

import numpy as np
import pytest
import torch
from tolerances import FLOAT32, FLOAT32_DEEP

from oodinv.directions.discover import factorise, ganspace, sefa, style_weights
from oodinv.models.generators.stylegan2 import StyleGAN2


def generator() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(16, {4: 8, 8: 6, 16: 4}, w_dim=5, z_dim=5, mapping_layers=2)


def test_sefa_returns_the_eigenvectors() -> None:
    weights = style_weights(generator(), (0, 1, 2)).double().numpy()
    values, vectors = np.linalg.eig(weights.T @ weights)
    order = np.argsort(-values)
    found = factorise(torch.from_numpy(weights), 3).numpy()
    np.testing.assert_allclose(np.abs(found @ vectors[:, order[:3]]), np.eye(3), atol=FLOAT32)
    changes = np.linalg.norm(weights @ found.T, axis=0)
    np.testing.assert_allclose(changes**2, values[order[:3]], rtol=FLOAT32_DEEP)


def test_each_row_of_w_plus_is_paired_with_its_affine_layers() -> None:
    from oodinv.models.layers import EqualLinear
    from oodinv.models.synthesis import synthesize

    g = generator()
    readers: dict[int, list[torch.Tensor]] = {}
    for name, layer in g.named_modules():
        if isinstance(layer, EqualLinear) and name.endswith("affine"):
            layer.register_forward_pre_hook(
                lambda layer, args: readers.setdefault(args[0].data_ptr(), []).append(layer.weight * layer.gain)
            )
    w_plus = torch.randn(1, g.num_ws, 5)
    synthesize(g, w_plus)
    for row in range(g.num_ws):
        convolution_first = readers[w_plus[:, row].data_ptr()][-1]  # the colour layer shares a row with the next block
        torch.testing.assert_close(g.style_weights(row), convolution_first)


def test_sefa_on_layers_has_the_unit_of_codes() -> None:
    g = generator()
    codes = torch.randn(500, g.num_ws, 5)
    first, *_ = sefa(g, "m", (1, 2), 2, codes)
    assert not first.vector[[0, 3, 4, 5]].any()
    unit = first.vector[1] / first.vector[1].norm()
    assert float(first.vector[1].norm()) == pytest.approx(float((codes[:, [1, 2]].mean(1) @ unit).std()), rel=1e-4)


def test_ganspace_units_are_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((400, 3, 4)) * np.array([3.0, 1, 0.5, 0.2])
    first, *_ = ganspace(codes, "m", None, 3, 3)
    values = np.linalg.eigvalsh(np.cov(codes.reshape(400, -1).T, bias=True))
    assert float(first.vector.norm()) ** 2 == pytest.approx(values[-1], rel=1e-3)

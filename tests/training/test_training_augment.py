"""Adaptive augmentation, and synthetic occluders."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from oodinv.training import augment
from oodinv.training.augment import Augmentation, Controller
from oodinv.training.occluders import FILLS, OUTLINES, Fill, Outline, mask_contrast, occlude, occlude_batch, skin
from oodinv.training.parallel import Team
from oodinv.training.pictures import flow_pictures


def pictures(batch: int = 4, size: int = 16) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def drawn(p: float, batch: int = 4, seed: int = 0) -> Augmentation:
    return augment.draw(batch, 16, p, torch.Generator().manual_seed(seed))


def test_nothing_happens_at_p_zero() -> None:
    images = pictures()
    assert torch.equal(augment.apply(images, drawn(0.0)), images)
    assert not torch.equal(augment.apply(images, drawn(1.0)), images)


def test_turns_and_flips_are_undone_exactly() -> None:
    images = pictures(8)
    flip = torch.tensor([False, True] * 4)
    turns = torch.arange(8) // 2
    moved = augment.flip_and_rotate(images, flip, turns)
    none = torch.zeros(8, dtype=torch.long)
    back = augment.flip_and_rotate(augment.flip_and_rotate(moved, none.bool(), (4 - turns) % 4), flip, none)
    assert torch.equal(back, images)
    assert torch.equal(moved[2], torch.rot90(images[2], 1, (1, 2)))


def test_whole_pixels_move_and_mirror_at_the_border() -> None:
    row = torch.arange(5.0).expand(1, 1, 5, 5)
    moved = augment.move(row, torch.tensor([[2, 0]]))
    assert moved[0, 0, 0].tolist() == [2, 1, 0, 1, 2]
    column = row.transpose(2, 3)
    assert augment.move(column, torch.tensor([[0, -1]]))[0, 0, :, 0].tolist() == [1, 2, 3, 4, 3]


def test_a_warp_by_a_quarter_turn_is_that_turn() -> None:
    x = torch.linspace(-1, 1, 16)
    smooth = (0.5 * x[:, None] + 0.3 * x[None] ** 2).expand(1, 3, 16, 16)
    quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    found = augment.warp(smooth, quarter)[..., 2:-2, 2:-2]
    turned = torch.rot90(smooth, -1, (2, 3))[..., 2:-2, 2:-2]
    back = torch.rot90(smooth, 1, (2, 3))[..., 2:-2, 2:-2]
    assert min((found - turned).abs().max().item(), (found - back).abs().max().item()) < 0.02


def test_colour_maps_are_affine_and_can_be_inverted() -> None:
    images = pictures(6).double()
    colour = drawn(1.0, 6).colour.double()
    tinted = augment.tint(images, colour)
    linear, constant = colour[:, :, :3], colour[:, :, 3]
    flat = (tinted.flatten(2) - constant[..., None]).transpose(1, 2)
    back = torch.linalg.solve(linear, flat.transpose(1, 2)).reshape(images.shape)
    torch.testing.assert_close(back, images, rtol=1e-6, atol=1e-6)


def test_hue_and_saturation_leave_the_mean_of_grey_alone() -> None:
    """Along the grey axis only brightness, contrast and inversion act: grey stays grey."""
    grey = torch.full((32, 3, 2, 2), 0.3)
    tinted = augment.tint(grey, drawn(1.0, 32).colour)
    torch.testing.assert_close(tinted[:, 0], tinted[:, 1])
    torch.testing.assert_close(tinted[:, 0], tinted[:, 2])


def test_each_kind_happens_with_probability_p() -> None:
    what = drawn(0.5, 4000)
    assert what.flip.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (what.quarters > 0).float().mean().item() == pytest.approx(0.5 * 0.75, abs=0.03)
    kept = 0.5**3 * (1 - (1 - math.sqrt(0.5))) ** 2
    assert (~what.warped).float().mean().item() == pytest.approx(kept, abs=0.02)


def test_gradients_flow_through_every_augmentation() -> None:
    images = pictures().requires_grad_()
    augment.apply(images, drawn(1.0)).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_two_processes_share_what_one_draws() -> None:
    what, cpu = drawn(1.0), torch.device("cpu")
    images = pictures()
    whole = augment.apply(images, what)
    for rank in (0, 1):
        team = Team(rank, 2)
        torch.testing.assert_close(augment.apply(team.share(images), what.share(team, cpu)), team.share(whole))


def test_p_rises_while_real_faces_are_known_and_falls_otherwise() -> None:
    controller = Controller(0.0)
    for _ in range(10):
        controller.observe(0.9)
        controller.adjust(0.6, 0.05)
    assert controller.p.item() == pytest.approx(0.5)
    controller.observe(0.1)
    controller.adjust(0.6, 0.6)
    assert controller.p.item() == 0.0
    again = Controller(0.3)
    again.load_state_dict(controller.state_dict())
    assert again.p.item() == 0.0


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("outline", OUTLINES)
def test_an_occluder_changes_only_where_it_says(outline: Outline, fill: Fill) -> None:
    face = np.full((64, 64, 3), 128, np.uint8)
    photo = np.random.default_rng(9).integers(0, 100, (64, 64, 3)).astype(np.uint8)
    for seed in range(5):
        found = occlude(face, np.random.default_rng(seed), outline, fill, photo)
        assert np.array_equal(found.pixels[found.where == 0], face[found.where == 0])
        assert 0.002 < found.where.mean() < 0.5
        assert outline == "hat" or found.where[skin(64, 1.0)].max() > 0.9
        if fill == "photo":
            assert found.pixels[found.where == 1].max() < 100


def test_occluders_hit_their_share_and_the_rest_is_exact() -> None:
    images = pictures(200, 32)
    found = occlude_batch(images, 0.3, np.random.default_rng(0))
    changed = (found.images != images).flatten(1).any(dim=1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.1)
    assert torch.equal(found.where.flatten(1).amax(dim=1) > 0, changed)
    outside = (found.where == 0).expand_as(images) & changed[:, None, None, None]
    assert (found.images[outside] - images[outside]).abs().max() < 1 / 255
    none = occlude_batch(images, 0.0, np.random.default_rng(0))
    assert none.images is images
    assert none.where.max() == 0


def test_mask_contrast_equals_that_computed_by_hand() -> None:
    where = torch.zeros(1, 1, 32, 32)
    where[..., :16, :] = 1.0
    masks = torch.where(where > 0.5, 0.9, 0.1)
    contrast = mask_contrast(masks, where)
    assert (contrast.occluder, contrast.skin) == (pytest.approx(0.9), pytest.approx(0.1))
    assert contrast.ratio == pytest.approx(9)


def test_flow_pictures_are_white_at_rest_and_red_to_the_right() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    assert torch.equal(flow_pictures(flow, 0.08, 8), torch.ones(1, 3, 8, 8))
    flow[:, 0] = 0.08
    colour = flow_pictures(flow, 0.08, 4)[0, :, 0, 0]
    torch.testing.assert_close(colour, torch.tensor([1.0, -1.0, -1.0]))

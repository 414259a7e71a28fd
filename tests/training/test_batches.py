"""Batches are reproducible by number and are what each stage expects."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.random import Generator

from atpn.geometry import CROP_SIZE, Box, square
from atpn_training.data.batches import (
    MASKED_POSE,
    MOST_ASIDE,
    REAL_PROFILES,
    Batch,
    Numbered,
    Sampler,
    batches,
    trust,
    turned_aside,
)
from atpn_training.data.negatives import is_negative, shifted_negative
from atpn_training.data.scenes import split_list
from tests.training.synthetic import made_up_faces, made_up_sampler


def assert_same(a: Batch, b: Batch) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, equal_nan=True)


def test_a_batch_depends_on_its_number_only() -> None:
    """A run resumed at batch 5 sees what an uninterrupted one sees."""
    sampler = made_up_sampler()

    def draw(rng: Generator) -> Batch:
        return sampler.aligned(rng, 3)

    whole, rest = Numbered(draw, 1, 0, 8), Numbered(draw, 1, 5, 8)
    assert_same(whole[6], rest[1])
    assert_same(next(iter(batches(draw, 1, 5, 8, 0))), whole[5])
    assert not torch.equal(whole[0]["image"], whole[1]["image"])
    assert not torch.equal(whole[0]["image"], Numbered(draw, 2, 0, 8)[0]["image"])


def test_a_loader_ends_after_its_last_batch() -> None:
    sampler = made_up_sampler()
    assert len(list(batches(lambda rng: sampler.posed(rng, 2), 0, 2, 5, 0))) == 3


def test_alignment_batches_hold_images_points_and_weights() -> None:
    batch = made_up_sampler().aligned(np.random.default_rng(0), 5)
    assert batch["image"].shape == (5, 3, CROP_SIZE, CROP_SIZE)
    assert batch["points"].shape == (5, 98, 2)
    assert ((batch["weight"] > 0) & (batch["weight"] <= 1)).all()


def test_pose_batches_hold_known_angles() -> None:
    sampler = made_up_sampler()
    sampler.faces.euler[0] = np.nan
    sampler.__post_init__()
    batch = sampler.posed(np.random.default_rng(0), 32)
    assert batch["euler"].shape == (32, 3)
    assert batch["euler"].isfinite().all()


def test_tracking_batches_hold_three_negatives_for_each_face() -> None:
    batch = made_up_sampler().judged(np.random.default_rng(0), 24)
    assert batch["face"].sum() == 6
    assert batch["image"].shape[0] == 24


def test_a_square_on_a_face_is_no_negative() -> None:
    face = Box(100, 80, 160, 150)
    assert not is_negative(square(130, 115, 90), (face,))
    assert is_negative(square(300, 115, 90), (face,))
    assert is_negative(square(130, 115, 600), (face,))  # far too large for the face


def test_shifted_negatives_are_crops() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (192, 192, 3)).astype(np.uint8)
    for _ in range(20):
        assert shifted_negative(rng, image).shape == (CROP_SIZE, CROP_SIZE, 3)


def test_training_and_validation_share_no_picture() -> None:
    items = list(range(25))
    train, val = split_list(items, "train"), split_list(items, "val")
    assert sorted(train + val) == items
    assert val == [0, 10, 20]


def test_faces_that_look_aside_are_drawn_more_often_but_for_those_of_pointing04() -> None:
    euler = np.zeros((5, 3), np.float32)
    euler[:, 0] = np.radians([0, -30, 80, 80, np.nan])
    source = np.array(["web", "web", "web", "pointing04", "web"])
    faces = replace(made_up_faces(5), euler=euler, source=source)
    assert turned_aside(faces).tolist() == pytest.approx([1, 2, MOST_ASIDE, 1, 1])


def test_points_made_by_hand_count_in_full_whatever_the_teachers_passes_say() -> None:
    spread, source = np.array([0, 0.02, 0.02], np.float32), np.array(["web", "web", "infanface"])
    faces = replace(made_up_faces(3), spread=spread, source=source)
    assert trust(faces).tolist() == pytest.approx([1, 0.5, 1])


def test_faces_are_positives_as_often_as_their_weight_says_where_they_are_large_enough() -> None:
    faces = made_up_faces(4)
    faces.weight[:] = 0, 1, 3, 1
    faces.face_px[:] = 100, 100, 100, 20
    drawn = Sampler(faces, [faces.images[0]])._p_wide
    assert drawn.tolist() == pytest.approx([0, 0.25, 0.75, 0])


def test_real_profiles_are_drawn_more_often_for_pose_and_masked_faces_less() -> None:
    source = np.array(["web", "pointing04", "facemask_b", "web"])
    euler = np.zeros((4, 3), np.float32)
    euler[3] = np.nan
    faces = replace(made_up_faces(4), source=source, euler=euler, weight=np.ones(4, np.float32))
    drawn = Sampler(faces, [faces.images[0]])._p_posed
    assert (drawn / drawn[0]).tolist() == pytest.approx([1, REAL_PROFILES, MASKED_POSE, 0])

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle_coarse_seg import best, masks_of, pixel_iou, token_labels

from projects.crate.errors import UserError
from projects.crate.evaluation import best_head_iou, binarise, head_iou
from projects.crate.evaluation.best_head import label_tokens

rules = st.sampled_from(['mass', 'top'])


def random_case(seed, h, w, height, width):
    rng = np.random.default_rng(seed)
    return rng.random((3, h, w)) ** 4, rng.choice([0, 1, 2, 255], size=(height, width))


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6), st.integers(1, 16), st.integers(1, 17), rules)
def test_equals_the_slow_version(seed, h, w, height, width, rule):
    """Whether the target is finer than the tokens, coarser, or neither."""
    attention, target = random_case(seed, h, w, height, width)
    expected = best(pixel_iou(masks_of(attention, rule, 0.6), target))
    found = best_head_iou(torch.from_numpy(attention), torch.from_numpy(target), rule)
    assert found == pytest.approx(expected)


@given(st.integers(0, 1000), st.tuples(*[st.integers(1, 16)] * 4), st.sampled_from([(3, 4), (14, 5), (1, 1)]))
def test_a_grid_that_reaches_beyond_the_image(seed, sizes, patch):
    """An input of any size, padded to whole patches: its last tokens count as far as they cover the image."""
    *image, height, width = sizes
    grid = [-(-side // step) for side, step in zip(image, patch)]
    attention, target = random_case(seed, *grid, height, width)
    masks = masks_of(attention, 'mass', 0.6)
    pixels = masks.repeat(patch[0], 1).repeat(patch[1], 2)[:, : image[0], : image[1]]
    extent = tuple(Fraction(*pair) for pair in zip(image, patch))
    found = head_iou(torch.from_numpy(masks), torch.from_numpy(target), extent=extent)
    expected = pixel_iou(pixels, target)
    assert {index: pytest.approx(values.tolist()) for index, values in found.items()} == expected
    labels = label_tokens(torch.from_numpy(target), tuple(grid), 255, extent)
    assert (labels.numpy() == token_labels(target, grid, image, patch)).all()


def test_heads_are_told_apart():
    masks = torch.tensor([[[True, False, False, False]], [[True, True, False, False]], [[False, False, False, True]]])
    scores = head_iou(masks, torch.tensor([[5, 5, 0, 255]]))
    assert {index: values.tolist() for index, values in scores.items()} == {5: [0.5, 1, 0]}


@pytest.mark.parametrize(('void', 'dtype'), [(255, torch.uint8), (-1, torch.int64), (0, torch.int64)])
def test_void_has_any_label(void, dtype):
    target = torch.tensor([[3, void, 3, void]]).to(dtype)
    scores = head_iou(torch.tensor([[[True, True, False, False]]]), target, ignore_index=void)
    assert {index: values.tolist() for index, values in scores.items()} == {3: [0.5]}


def test_nothing_but_void():
    assert best_head_iou(torch.ones(2, 2, 3), torch.full((4, 6), 255)) == {}


def test_rules_differ_on_a_peaked_map():
    attention = torch.tensor([[[0.7, 0.1, 0.1, 0.05, 0.05]]])
    assert binarise(attention, 'mass').sum() == 1
    assert binarise(attention, 'top').sum() == 3
    assert binarise(attention, 'top', share=1).all()


def test_ties_keep_the_first_entries():
    assert binarise(torch.ones(1, 1, 10), 'mass', 0.6)[0, 0].tolist() == [True] * 6 + [False] * 4


def test_void_and_background_are_no_classes():
    target = torch.tensor([[0, 255], [3, 255]])
    attention = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    assert best_head_iou(attention, target, share=1.0) == {3: 1.0}


def test_the_best_head_counts():
    target = torch.tensor([[1, 0, 0, 0]])
    wrong, right = torch.tensor([[0.0, 0, 0, 1]]), torch.tensor([[1.0, 0, 0, 0]])
    assert best_head_iou(torch.stack([wrong, right]), target) == {1: 1.0}
    assert best_head_iou(wrong[None], target) == {1: 0.0}


@pytest.mark.parametrize(('arguments', 'message'), [(dict(rule='most'), 'rule'), (dict(share=0.0), 'share')])
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        binarise(torch.ones(1, 2, 2), **arguments)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_attention_that_is_not_finite(value):
    """It would be an empty mask, with IoU 0."""
    attention = torch.full((2, 2, 2), 0.25)
    attention[1, 0, 0] = value
    with pytest.raises(UserError, match='the attention holds NaN or inf'):
        best_head_iou(attention, torch.ones(2, 2, dtype=torch.long))

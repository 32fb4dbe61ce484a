import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from projects.crate.evaluation import best_head_iou, binarise


def slow_mass(attention, share):
    """DINO's rule in its plainest form: add entries from the largest down until they hold the share."""
    mask = np.zeros(attention.shape, bool)
    for head in range(len(attention)):
        total = 0.0
        for flat in np.argsort(-attention[head], axis=None, kind='stable'):
            if total >= share * attention[head].sum():
                break
            mask[head].flat[flat] = True
            total += attention[head].flat[flat]
    return mask


def slow_best_iou(masks, target, ignore_index=255):
    """Pixel by pixel."""
    (heads, h, w), (height, width) = masks.shape, target.shape
    scores = {}
    for index in set(target.flat) - {0, ignore_index}:
        best = 0.0
        for head in range(heads):
            both = either = 0
            for y in range(height):
                for x in range(width):
                    if target[y, x] == ignore_index:
                        continue
                    on, wanted = masks[head, y * h // height, x * w // width], target[y, x] == index
                    both += on and wanted
                    either += on or wanted
            best = max(best, both / either)
        scores[int(index)] = best
    return scores


@given(seed=st.integers(0, 1000), h=st.integers(1, 5), w=st.integers(1, 6), scale=st.integers(1, 3))
def test_equals_the_slow_version(seed, h, w, scale):
    rng = np.random.default_rng(seed)
    attention = rng.random((3, h, w)) ** 4
    target = rng.choice([0, 1, 2, 255], size=(h * scale, w * scale + 1))
    expected = slow_best_iou(slow_mass(attention, 0.6), target)
    assert best_head_iou(torch.from_numpy(attention), torch.from_numpy(target)) == pytest.approx(expected)


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

"""Differences over images and trainings: simulated with known truth, and beside scipy where it has the same test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from projects.crate.study.significance import difference, holm


def draw(rng, trainings, images, spread, mean=0.0):
    """Values of trainings in images: an effect of each image (given), of each training, and noise."""
    return mean + images + rng.normal(0, spread, (trainings, 1)) + rng.normal(0, 1, (trainings, len(images)))


def test_one_training_each_is_a_paired_t_test():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.2, 1, (2, 1, 40))
    found, expected = difference(first, second), stats.ttest_rel(first[0], second[0])
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_many_equal_images_are_welchs_test_of_the_trainings():
    """Without noise in the images only the trainings vary: scipy's test of their means."""
    first, second = np.array([1.0, 3.0, 4.0]), np.array([0.0, 0.5])
    found = difference(first[:, None].repeat(9, 1), second[:, None].repeat(9, 1))
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert (found.value, found.p) == (pytest.approx(first.mean() - second.mean()), pytest.approx(expected.pvalue))


@pytest.mark.parametrize('spread', [0.3, 3.0])
def test_intervals_hold_the_truth_as_often_as_they_say(spread):
    """Three trainings each, in 60 images of very different difficulty: 95%, within what 600 trials can show."""
    rng, truth, hits = np.random.default_rng(1), 2.0, 0
    for _ in range(600):
        images = rng.normal(0, 10, 60)
        found = difference(draw(rng, 3, images, spread, truth), draw(rng, 3, images, spread))
        hits += found.low <= truth <= found.high
    assert 0.92 < hits / 600 < 0.99


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(*[st.integers(1, 4)] * 2))
def test_the_other_way_round(seed, sizes):
    rng = np.random.default_rng(seed)
    first, second = (draw(rng, size, np.zeros(7), 1.0) for size in sizes)
    found, other = difference(first, second), difference(second, first)
    assert other == pytest.approx((-found.value, -found.high, -found.low, found.p))
    moved = difference(first + 5, second + 5)
    assert moved == pytest.approx(found)


def test_equal_models_do_not_differ():
    same = np.ones((2, 5))
    assert difference(same, same) == (0, 0, 0, 1)
    assert difference(same + 1, same) == (1, 1, 1, 0)


def test_holm():
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])) == pytest.approx([1, 1])
    assert holm(np.array([])).shape == (0,)

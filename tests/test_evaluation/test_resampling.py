"""Against pycocotools' own accumulate, on random matches; test_class_agnostic.py has real ones."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from projects.crate.evaluation import resampling
from projects.crate.evaluation.resampling import order_stats, percentile_interval, resampled_stats

SCORES = (0.25, 0.5, 1.0)


def draw_image(rng, thresholds, areas, share, values):
    """What ``evaluateImg`` returns for each range of areas; ``share`` of the objects are in one."""
    scores = sorted(rng.choice(values, rng.integers(6)), reverse=True)
    objects, shape = rng.integers(4), (thresholds, len(scores))
    return [
        dict(
            dtScores=scores,
            dtMatches=rng.integers(0, 3, shape) * 100.0,  # ids of objects; 0 is none
            dtIgnore=rng.random(shape) < 0.2,
            gtIgnore=(rng.random(objects) > share).astype(int),
        )
        for _ in range(areas)
    ]


def draw_evaluation(seed, images, share=0.7, counts=(1, 3, 100), values=SCORES):
    """As after ``evaluate()``: equal scores, and images without anything."""
    rng = np.random.default_rng(seed)
    evaluation = COCOeval(iouType='bbox')
    params = evaluation.params
    params.useCats, params.imgIds, params.maxDets = 0, [*range(images)], [*counts]
    thresholds, areas = len(params.iouThrs), len(params.areaRng)
    found = [
        draw_image(rng, thresholds, areas, share, values) if rng.random() < 0.7 else [None] * areas
        for _ in range(images)
    ]
    evaluation.evalImgs = [one for area in zip(*found) for one in area]
    evaluation._paramsEval = copy.deepcopy(params)
    return evaluation


def numbered(evaluation, draw):
    """The same evaluation with these images, in this order."""
    evaluation, count = copy.copy(evaluation), len(evaluation.params.imgIds)
    evaluation.params, evaluation._paramsEval = copy.copy(evaluation.params), copy.copy(evaluation._paramsEval)
    evaluation.evalImgs = [evaluation.evalImgs[area * count + image] for area in range(4) for image in draw]
    evaluation.params.imgIds = evaluation._paramsEval.imgIds = [*range(len(draw))]
    return evaluation


def by_pycocotools(evaluation, draw):
    evaluation = numbered(evaluation, draw)
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


def by_all_orders(evaluation, draw):
    """The mean of what pycocotools says over all orders of these images; -1 is there in all of them or in none."""
    return np.mean([by_pycocotools(evaluation, order) for order in itertools.permutations(draw)], axis=0)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.05, 0.7]),
    counts=st.sampled_from([(1, 3, 100), (100, 300, 1000), (2, 100, 100)]),
)
def test_equals_pycocotools_on_every_draw(seed, images, share, counts):
    """By the order of the ids: of two images that were drawn, the one with the lower id ranks first."""
    evaluation = draw_evaluation(seed, images, share, counts)
    stats = resampled_stats(evaluation, 3, seed, order='as given')
    draws = np.sort(np.random.default_rng(seed).integers(images, size=(3, images)))
    np.testing.assert_allclose(stats, [by_pycocotools(evaluation, draw) for draw in draws], rtol=1e-12, atol=0)


counts = st.sampled_from([(1, 3, 100), (100, 300, 1000), (2, 100, 100)])
seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, images=st.integers(1, 4), share=st.sampled_from([0.05, 0.7]), counts=counts)
def test_the_expected_numbers_are_the_mean_over_all_orders(seed, images, share, counts):
    evaluation = draw_evaluation(seed, images, share, counts)
    expected = by_all_orders(evaluation, range(images))
    stats, error = order_stats(evaluation)
    np.testing.assert_allclose(stats, expected, rtol=1e-12, atol=0)
    assert error == 0


@settings(deadline=None, max_examples=15)
@given(seed=seeds, images=st.integers(1, 9), share=st.sampled_from([0.0, 0.7]), counts=counts)
def test_as_given_is_pycocotools(seed, images, share, counts):
    evaluation = draw_evaluation(seed, images, share, counts)
    expected = by_pycocotools(evaluation, range(images))
    assert np.array_equal(order_stats(evaluation, 'as given')[0], expected)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, images=st.integers(1, 40), counts=counts)
def test_without_ties_every_order_says_the_same(seed, images, counts):
    """Also where an image has equal scores of its own: those rank as the model has them."""
    evaluation = draw_evaluation(seed, images, counts=counts, values=np.random.default_rng(seed).random(10**6))
    one = next((one for one in evaluation.evalImgs if one and len(one['dtScores']) > 1), None)
    if one:
        one['dtScores'][1] = one['dtScores'][0]
    expected = by_pycocotools(evaluation, range(images))
    stats, error = order_stats(evaluation)
    np.testing.assert_allclose(stats, expected, rtol=1e-12, atol=0)
    assert error == 0
    as_given, drawn = (resampled_stats(evaluation, 4, order=order) for order in ('as given', 'expected'))
    np.testing.assert_array_equal(as_given, drawn)


@settings(deadline=None, max_examples=15)
@given(seed=seeds, images=st.integers(1, 30), values=st.sampled_from([SCORES, (1.0,)]))
def test_ids_do_not_count(seed, images, values):
    """Bit for bit, where all orders are taken and where some are drawn."""
    evaluation, rng = draw_evaluation(seed, images, values=values), np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, 'MAX_ORDERS', 256)  # fast
        stats, error = order_stats(numbered(evaluation, range(images)))
        for _ in range(2):
            again, error_again = order_stats(numbered(evaluation, rng.permutation(images)))
            assert np.array_equal(again, stats) and error_again == error


def test_drawn_orders_have_the_mean_of_all(monkeypatch):
    evaluation = draw_evaluation(4, 9, share=0.3, values=(1.0,))
    expected, exact = order_stats(evaluation)
    monkeypatch.setattr(resampling, 'MAX_ORDERS', 1024)
    stats, error = order_stats(evaluation)
    assert exact == 0 < error < 0.01
    assert 0 < abs(stats[0] - expected[0]) < 4 * error
    assert np.array_equal(stats[6:], expected[6:])  # recalls have no order


def test_a_wide_set_has_a_small_standard_error():
    evaluation = rare_hits(0)
    assert 0 < order_stats(evaluation)[1] < 1e-4
    spread = [by_pycocotools(evaluation, np.random.default_rng(i).permutation(120))[0] for i in range(40)]
    assert max(spread) > 2 * min(spread)  # what one order says is chance


def rare_hits(seed):
    """As MaskCut on photographs: 120 images with three masks of equal score and seven objects, some of them found."""
    evaluation, rng = draw_evaluation(0, 1), np.random.default_rng(seed)
    thresholds = evaluation.params.iouThrs
    evaluation.params.imgIds = [*range(120)]
    images = []
    for overlaps in rng.beta(1, 4, (120, 3)):
        hits = (overlaps >= thresholds[:, None]).astype(float)
        images.append(
            dict(
                dtScores=[1.0] * 3, dtMatches=hits, dtIgnore=np.zeros((len(thresholds), 3), bool), gtIgnore=np.zeros(7)
            )
        )
    evaluation.evalImgs = images * 4
    evaluation._paramsEval = copy.deepcopy(evaluation.params)
    return evaluation


@pytest.mark.parametrize('seed', range(5))
def test_the_number_lies_in_its_interval(seed):
    """Both are of one rule."""
    evaluation = rare_hits(seed)
    stats, _ = order_stats(evaluation)
    low, high = percentile_interval(resampled_stats(evaluation, 200)[:, 0])
    assert low < stats[0] < high


@settings(deadline=None, max_examples=10)
@given(seed=seeds)
def test_draws_take_the_mean_over_orders(seed):
    """With three images, the mean over many random orders is near the mean over all of them."""
    evaluation = draw_evaluation(seed, 3, share=0.3, values=(1.0,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, 'RESAMPLE_ORDERS', 1000)
        stats = resampled_stats(evaluation, 2, seed)
    for row, draw in zip(stats, np.random.default_rng(seed).integers(3, size=(2, 3))):
        np.testing.assert_allclose(row, by_all_orders(evaluation, draw), atol=0.05)


def test_the_evaluation_stays_as_it_is(capsys):
    evaluation = draw_evaluation(0, 5)
    evaluation.accumulate()
    evaluation.summarize()
    before = evaluation.eval, evaluation.stats, copy.deepcopy(evaluation.evalImgs)
    capsys.readouterr()
    resampled_stats(evaluation, 2)
    assert capsys.readouterr().out == ''
    assert (evaluation.eval is before[0]) and (evaluation.stats is before[1])
    np.testing.assert_equal(evaluation.evalImgs, before[2])


def test_draws_depend_on_the_seed_alone():
    evaluation = draw_evaluation(1, 6)
    first, again, other = (resampled_stats(evaluation, 8, seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(resampled_stats(evaluation, 5, 3), first[:5])


def test_draws_with_nothing_to_be_found_do_not_count():
    values = np.array([-1, 0.5, -1, 0.1, 0.3, -1])
    assert percentile_interval(values) == pytest.approx((0.11, 0.49))
    assert percentile_interval(np.array([-1.0, -1.0])) == (-1, -1)
    assert percentile_interval(np.zeros(9)) == (0, 0)  # there was something, and it was not found


def test_the_interval_is_that_of_a_mean_where_the_metric_is_one():
    """The recall with one object in each image is the share of the images where it is found."""
    evaluation, rng = draw_evaluation(0, 1), np.random.default_rng(0)
    found = rng.random(200) < 0.3
    shape = (len(evaluation.params.iouThrs), 1)
    images = [
        dict(dtScores=[1.0], dtMatches=np.full(shape, hit), dtIgnore=np.zeros(shape, bool), gtIgnore=np.zeros(1))
        for hit in found.astype(float)
    ]
    evaluation.params.imgIds, evaluation.evalImgs = [*range(200)], images * 4
    low, high = percentile_interval(resampled_stats(evaluation, 500)[:, 8])
    half = 1.96 * found.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((found.mean() - half, found.mean() + half), abs=0.015)

"""Against pycocotools' own accumulate, on random matches; test_class_agnostic.py has real ones."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from projects.crate.evaluation.resampling import percentile_interval, resampled_stats


def draw_image(rng, thresholds, areas, share):
    """What ``evaluateImg`` returns for each range of areas; ``share`` of the objects are in one."""
    scores = sorted(rng.choice([0.25, 0.5, 1.0], rng.integers(6)), reverse=True)
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


def draw_evaluation(seed, images, share=0.7, counts=(1, 3, 100)):
    """As after ``evaluate()``: equal scores, and images without anything."""
    rng = np.random.default_rng(seed)
    evaluation = COCOeval(iouType='bbox')
    params = evaluation.params
    params.useCats, params.imgIds, params.maxDets = 0, [*range(images)], [*counts]
    thresholds, areas = len(params.iouThrs), len(params.areaRng)
    found = [draw_image(rng, thresholds, areas, share) if rng.random() < 0.7 else [None] * areas for _ in range(images)]
    evaluation.evalImgs = [one for area in zip(*found) for one in area]
    evaluation._paramsEval = copy.deepcopy(params)
    return evaluation


def by_pycocotools(evaluation, draw):
    evaluation, count = copy.copy(evaluation), len(evaluation.params.imgIds)
    evaluation.evalImgs = [evaluation.evalImgs[area * count + image] for area in range(4) for image in draw]
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.05, 0.7]),
    counts=st.sampled_from([(1, 3, 100), (100, 300, 1000), (2, 100, 100)]),
)
def test_equals_pycocotools_on_every_draw(seed, images, share, counts):
    evaluation = draw_evaluation(seed, images, share, counts)
    stats = resampled_stats(evaluation, 3, seed)
    draws = np.random.default_rng(seed).integers(images, size=(3, images))
    np.testing.assert_allclose(stats, [by_pycocotools(evaluation, draw) for draw in draws], rtol=1e-12, atol=0)


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

"""COCO's average precision where scores are equal, and on images drawn again: how much of it is chance."""

import contextlib
import copy
import io
import itertools
import math

import numpy as np
from pycocotools.cocoeval import COCOeval

from .accumulation import Matches

ORDERS = ('expected', 'as given')  # rules for images whose predictions have the same score
FIRST_ORDERS = 64  # orders before the standard error is computed; their number is then doubled
MAX_ORDERS = 8192
TOLERANCE = 2e-5  # standard error of an AP, for any threshold and range of areas, that needs no more orders
RESAMPLE_ORDERS = 32  # orders of each draw of images; fewer would widen the intervals


def order_stats(evaluation: COCOeval, order: str = 'expected', seed: int = 0) -> tuple[np.ndarray, float]:
    """Compute ``COCOeval.stats`` with a rule for predictions of equal score.

    pycocotools ranks predictions of equal score in different images by the id of their image, which is arbitrary.
    'expected' is the mean of its result over all numberings of the images. 'as given' is its result for the given ids.

    The mean is exact for up to seven images with predictions, and where no two images share a score. Otherwise orders
    are drawn until the standard error of every AP is at most ``TOLERANCE``, or up to ``MAX_ORDERS``. The draws follow
    the contents of the matches, so the numbers are the same, bit for bit, for any ids.

    Args:
        evaluation: Evaluation after ``evaluate()``, of boxes or masks, with ``useCats = 0``. The numbers are printed
            and become its ``stats``; its ``eval`` holds the APs in place of precisions.
        order: One of ``ORDERS``.
        seed: Seed of the drawn orders.

    Returns:
        The 12 numbers, and the standard error of the first one, mAP: 0 where it is exact.
    """
    error = 0.0
    if order == 'as given':
        evaluation.accumulate()
    else:
        matches = Matches.of(evaluation)
        precision, error = _expected_precision(matches, seed)
        evaluation.eval = _as_eval(precision, matches.recall(np.arange(len(matches.places))))
    evaluation.summarize()
    return np.asarray(evaluation.stats), error


def resampled_stats(evaluation: COCOeval, num_resamples: int, seed: int = 0, order: str = 'expected') -> np.ndarray:
    """Compute :func:`order_stats` of as many images, drawn from the evaluated ones with replacement (the bootstrap).

    An image that is drawn twice counts as two images. With 'expected', each draw takes the mean over
    ``RESAMPLE_ORDERS`` random orders. The draws depend on the number of images and the seed alone: two evaluations of
    the same images can be compared draw by draw. Nothing is matched again.

    Args:
        evaluation: Evaluation after ``evaluate()``, of boxes or masks, with ``useCats = 0``. It stays unchanged.
        num_resamples: Number of draws.
        seed: Seed of the draws, and of the orders.
        order: One of ``ORDERS``.

    Returns:
        (num_resamples, 12), as ``COCOeval.stats``: from 0 to 1, -1 if a draw has no objects.
    """
    matches, evaluation = Matches.of(evaluation), copy.copy(evaluation)
    count = len(evaluation.params.imgIds)
    draws = np.random.default_rng(seed).integers(count, size=(num_resamples, count))
    orders = np.arange(count)[None]
    stats = np.empty((num_resamples, 12))
    rng = np.random.default_rng([seed, 1])  # the draws are the same for every rule
    is_drawn = order == 'expected' and matches.has_ties()
    with contextlib.redirect_stdout(io.StringIO()):  # summarize prints
        for row, draw in zip(stats, np.sort(draws, axis=1)):
            if is_drawn:
                orders = _random_orders(count, RESAMPLE_ORDERS, rng)
            evaluation.eval = _as_eval(matches.precisions(draw, orders).mean(axis=0), matches.recall(draw))
            evaluation.summarize()
            row[:] = evaluation.stats
    return stats


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 2.5 and 97.5 percentiles of resampled values (n,) other than -1; (-1, -1) if there are none."""
    values = values[values > -1]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (-1, -1)
    return float(low), float(high)


def _expected_precision(matches: Matches, seed: int) -> tuple[np.ndarray, float]:
    """Return the mean AP over orders of the images, (A, T, 3), and the standard error of mAP."""
    ranked = matches.canonical_images()
    empty = np.setdiff1d(np.arange(len(matches.places)), ranked)  # they rank nowhere, but hold objects
    draw, count = np.concatenate([ranked, empty]), len(ranked)

    def precisions(orders: np.ndarray) -> np.ndarray:
        return matches.precisions(draw, np.pad(orders, ((0, 0), (0, len(empty)))))

    if not matches.has_ties():
        return precisions(np.arange(count)[None])[0], 0.0
    if math.factorial(count) <= MAX_ORDERS:
        return precisions(np.array([*itertools.permutations(range(count))])).mean(axis=0), 0.0
    rng = np.random.default_rng(seed)
    found = precisions(_random_orders(count, FIRST_ORDERS, rng))
    while (found.std(axis=0) > TOLERANCE * math.sqrt(len(found))).any() and len(found) < MAX_ORDERS:
        found = np.concatenate([found, precisions(_random_orders(count, len(found), rng))])
    error = found[:, 0].mean(axis=1).std(axis=0).max() / math.sqrt(len(found))
    return found.mean(axis=0), float(error)


def _random_orders(count: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return the positions of ``count`` images in random orders, (number, count)."""
    return rng.permuted(np.tile(np.arange(count), (number, 1)), axis=1)


def _as_eval(precision: np.ndarray, recall: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``COCOeval.eval`` of APs and recalls (A, T, 3), with means in place of the precisions at each recall."""
    precision, recall = precision.swapaxes(0, 1), recall.swapaxes(0, 1)
    return dict(precision=precision[:, None, None], recall=recall[:, None])

"""COCO's average precision on images drawn again: how much of it is the choice of the images."""

import contextlib
import copy
import io
from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval


def resampled_stats(evaluation: COCOeval, num_resamples: int, seed: int = 0) -> np.ndarray:
    """What pycocotools would say of as many images, drawn from the evaluated ones with replacement (the bootstrap).

    An image that is drawn twice counts as two images. Images come in the order in which they are drawn: it decides
    between predictions of equal score (all of MaskCut's), and so another order is part of what other images would
    change. The draws depend on the number of images and the seed alone: two evaluations of the same images can be
    compared draw by draw.

    Nothing is matched again, and precisions are accumulated for all area ranges at once: pycocotools' own loop takes
    tens of milliseconds per draw, minutes in all.

    Args:
        evaluation: After ``evaluate()``, of boxes or masks, with ``useCats = 0``. It stays as it is.
        num_resamples: Number of draws.
        seed: Of the draws.

    Returns:
        (num_resamples, 12), as ``COCOeval.stats``: from 0 to 1, -1 where there is nothing to be found in a draw.
    """
    matches, evaluation = _Matches.of(evaluation), copy.copy(evaluation)
    count = len(evaluation.params.imgIds)
    stats = np.empty((num_resamples, 12))
    with contextlib.redirect_stdout(io.StringIO()):  # summarize prints
        for row, draw in zip(stats, np.random.default_rng(seed).integers(count, size=(num_resamples, count))):
            evaluation.eval = matches.accumulate(draw)
            evaluation.summarize()
            row[:] = evaluation.stats
    return stats


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """95% interval: the 2.5 and 97.5 percentiles of resampled values (n,), of those with something to be found.

    Returns:
        (low, high); -1 both if there is nothing to be found in any draw.
    """
    values = values[values > -1]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (-1, -1)
    return float(low), float(high)


@dataclass(frozen=True)
class _Matches:
    """What pycocotools matched, in arrays: I images with D predictions in all, T thresholds of IoU, A ranges of area.

    Attributes:
        hits: The prediction is right, (A, T, D).
        misses: It is wrong, (A, T, D); others do not count.
        scores: (D,).
        ranks: Position among the predictions of its image, (D,).
        places: Of each image, the positions of its predictions in these arrays.
        positives: Objects to be found, (A, I).
        recalls: At which the precision is read, (101,).
        counts: ``maxDets``: predictions of an image that are looked at, (3,).
    """

    hits: np.ndarray
    misses: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    places: list[np.ndarray]
    positives: np.ndarray
    recalls: np.ndarray
    counts: list[int]

    @classmethod
    def of(cls, evaluation: COCOeval) -> '_Matches':
        """Gather them."""
        params = evaluation.params
        none = np.zeros((len(params.iouThrs), 0))
        blank = dict(dtMatches=none, dtIgnore=none, dtScores=[], gtIgnore=none[0])  # neither objects nor predictions
        images = [blank if one is None else one for one in evaluation.evalImgs]
        areas = [images[start : start + len(params.imgIds)] for start in range(0, len(images), len(params.imgIds))]
        matched, ignored = (
            np.stack([np.concatenate([one[key] for one in area], axis=1) for area in areas]).astype(bool)
            for key in ('dtMatches', 'dtIgnore')
        )
        sizes = [len(one['dtScores']) for one in areas[0]]
        return cls(
            hits=matched & ~ignored,
            misses=~matched & ~ignored,
            scores=np.concatenate([one['dtScores'] for one in areas[0]]),
            ranks=np.concatenate([np.arange(size) for size in sizes]),
            places=np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]),
            positives=np.array([[np.count_nonzero(one['gtIgnore'] == 0) for one in area] for area in areas]),
            recalls=params.recThrs,
            counts=params.maxDets,
        )

    def accumulate(self, draw: np.ndarray) -> dict[str, np.ndarray]:
        """``COCOeval.eval`` of the images ``draw`` (I,): 'precision' (T, 101, 1, A, 3) and 'recall' (T, 1, A, 3)."""
        chosen = np.concatenate([self.places[image] for image in draw])
        chosen = chosen[np.argsort(-self.scores[chosen], kind='stable')]
        positives = self.positives[:, draw].sum(axis=1)
        # mostly no image has as many predictions as the least of counts, and all three are the same
        counts, which = np.unique(np.minimum(self.counts, self.ranks.max(initial=-1) + 1), return_inverse=True)
        found = [self._curves(chosen[self.ranks[chosen] < count], positives) for count in counts]
        precision, recall = (np.stack(each, axis=-1)[..., which] for each in zip(*found))
        return dict(precision=precision[:, :, None], recall=recall[:, None])

    def _curves(self, ranked: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision (T, 101, A) and recall (T, A) of predictions in the order of their scores; -1 without objects."""
        hits, misses = (np.cumsum(each[:, :, ranked], axis=2, dtype=float) for each in (self.hits, self.misses))
        precisions = hits / (hits + misses + np.spacing(1))
        # the best at this recall or a higher one; 0 at recalls that are not reached
        precisions = np.maximum.accumulate(precisions[..., ::-1], axis=2)[..., ::-1]
        precisions = np.pad(precisions, ((0, 0), (0, 0), (0, 1)))
        precision = -np.ones((hits.shape[1], len(self.recalls), len(positives)))
        recall = -np.ones((hits.shape[1], len(positives)))
        for area in np.flatnonzero(positives):
            recalls = hits[area] / positives[area]
            recall[:, area] = recalls[:, -1] if len(ranked) else 0
            for threshold, reached in enumerate(recalls):
                at = np.searchsorted(reached, self.recalls)
                precision[threshold, :, area] = precisions[area, threshold, at]
        return precision, recall

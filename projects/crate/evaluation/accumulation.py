"""COCO's average precision of many rankings of the same predictions at once."""

from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

BATCH = 2**22  # entries of an array with all thresholds, areas, rankings and predictions: some tens of MB


@dataclass(frozen=True)
class Matches:
    """Matches of pycocotools as arrays: I images with D predictions in all, T thresholds of IoU, A ranges of area.

    Attributes:
        hits: The prediction is right, (A, T, D).
        counted: The prediction is right or wrong, (A, T, D); others do not count.
        scores: Rank of the score, 0 for the highest, equal for equal scores, (D,).
        ranks: Position among the predictions of its image, (D,).
        places: Positions of each image's predictions in these arrays.
        positives: Objects to be found, (A, I).
        recalls: Recalls at which the precision is read, (101,).
        counts: ``maxDets``: numbers of predictions of an image that count, (3,).
    """

    hits: np.ndarray
    counted: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    places: list[np.ndarray]
    positives: np.ndarray
    recalls: np.ndarray
    counts: list[int]

    @classmethod
    def of(cls, evaluation: COCOeval) -> 'Matches':
        """Gather the matches of an evaluation after ``evaluate()``, of boxes or masks, with ``useCats = 0``."""
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
            counted=~ignored,
            scores=np.unique(-np.concatenate([one['dtScores'] for one in areas[0]]), return_inverse=True)[1],
            ranks=np.concatenate([np.arange(size) for size in sizes]),
            places=np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]),
            positives=np.array([[np.count_nonzero(one['gtIgnore'] == 0) for one in area] for area in areas]),
            recalls=params.recThrs,
            counts=params.maxDets,
        )

    def has_ties(self) -> bool:
        """Return True if predictions of different images have the same score."""
        owners = np.repeat(np.arange(len(self.places)), [len(place) for place in self.places])
        return len(np.unique(np.stack([self.scores, owners]), axis=1).T) > len(np.unique(self.scores))

    def canonical_images(self) -> np.ndarray:
        """Return the images with predictions in an order that depends on their matches, not on their ids.

        Images that this order cannot tell apart are interchangeable.
        """

        def content(image: int) -> tuple:
            place = self.places[image]
            return self.scores[place].tolist(), self.hits[..., place].tobytes(), self.counted[..., place].tobytes()

        return np.array(sorted((i for i, place in enumerate(self.places) if len(place)), key=content), dtype=int)

    def precisions(self, draw: np.ndarray, orders: np.ndarray) -> np.ndarray:
        """Return the average precision of each order of some images: (K, A, T, 3), -1 if there are no objects.

        Predictions rank by score. Predictions of equal score rank by the position of their image, then as in the image.

        Args:
            draw: Images (n,); one that is there twice counts as two.
            orders: Position of each of them, (K, n).
        """
        chosen, slots = self._predictions(draw)
        # often no image has as many predictions as the least of ``counts``, and all three are the same
        counts, which = np.unique(np.minimum(self.counts, self.ranks.max(initial=-1) + 1), return_inverse=True)
        seen = [self.ranks[chosen] < count for count in counts]
        return np.stack([self._precisions(chosen[one], slots[one], draw, orders) for one in seen], axis=-1)[..., which]

    def recall(self, draw: np.ndarray) -> np.ndarray:
        """Return the recall of some images (n,), in any order: (A, T, 3), -1 where nothing is to be found."""
        chosen, _ = self._predictions(draw)
        positives = self.positives[:, draw].sum(axis=1)[:, None, None]
        hits = np.stack([self.hits[..., chosen[self.ranks[chosen] < count]].sum(axis=-1) for count in self.counts], -1)
        return np.where(positives > 0, hits / np.maximum(positives, 1), -1)

    def _predictions(self, draw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the predictions of the drawn images, and which drawn image each belongs to."""
        chosen = np.concatenate([self.places[image] for image in draw])
        return chosen, np.repeat(np.arange(len(draw)), [len(self.places[image]) for image in draw])

    def _precisions(self, chosen: np.ndarray, slots: np.ndarray, draw: np.ndarray, orders: np.ndarray) -> np.ndarray:
        """Return :meth:`precisions` of the predictions ``chosen``, (K, A, T)."""
        positives = self.positives[:, draw].sum(axis=1)
        hits, counted = self.hits[..., chosen], self.counted[..., chosen]
        found = np.zeros((len(orders), *hits.shape[:2]))
        found[:, positives == 0] = -1
        areas, thresholds = np.nonzero(hits.any(axis=-1) & (positives > 0)[:, None])
        if not len(areas):
            return found
        hits, counted = hits[areas, thresholds], counted[areas, thresholds]  # (rows, D)
        weights = self._weights(positives, hits.sum(axis=-1).max())[areas]
        # scores first, then images, then the order within an image
        first = self.scores[chosen].astype(np.int64) * len(draw)
        inner = self.ranks[chosen].max() + 1
        step = max(1, BATCH // counted.size)
        for start in range(0, len(orders), step):
            part = slice(start, start + step)
            ranked = np.argsort((first + orders[part][:, slots]) * inner + self.ranks[chosen], axis=1)
            found[part, areas, thresholds] = _average(hits, counted, ranked, weights).T
        return found

    def _weights(self, positives: np.ndarray, most: int) -> np.ndarray:
        """Return the share of the recalls that the j-th hit is the first to reach, (A, 1 + most)."""
        reached = np.arange(most + 1) / np.maximum(positives, 1)[:, None]
        ends = np.searchsorted(self.recalls, reached, side='right')
        ends[:, 0] = 0
        return np.diff(ends, axis=1, prepend=0) / len(self.recalls)


def _average(hits: np.ndarray, counted: np.ndarray, ranked: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average precision (R, K) of R rows of hits and counted (R, D) in K rankings (K, D).

    Precision is read where some row has a hit: elsewhere it is lower than at the hit before.
    """
    where = np.nonzero(hits.any(axis=0)[ranked])[1].reshape(len(ranked), -1)  # (K, columns)
    seen = np.cumsum(counted[:, ranked], axis=-1, dtype=np.int32)
    seen = np.take_along_axis(seen, where[None], axis=-1)
    hit = hits[:, np.take_along_axis(ranked, where, axis=1)]
    number = np.cumsum(hit, axis=-1)
    precision = np.where(hit, number / (seen + np.spacing(1)), 0)
    # the best at this recall or a higher one
    precision = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    share = np.take_along_axis(weights[:, None], number, axis=-1)
    return np.einsum('rkc,rkc,rkc->rk', precision, share, hit)

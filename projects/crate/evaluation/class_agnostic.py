"""COCO's average precision of objects, whatever their category."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import MMLogger

from ..errors import ArgumentError, UnknownKeyError
from .resampling import ORDERS, order_stats, percentile_interval, resampled_stats

PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


class ClassAgnosticCocoMetric(CocoMetric):
    """Box and mask AP with all categories taken as one: what pycocotools computes with ``useCats = 0``.

    It is what arXiv 2308.16271 (Tables 1 and 2) and CutLER (arXiv 2301.11320) report for unsupervised detectors.
    Labels of predictions and categories of annotations are not looked at, so it takes the predictions of any detector,
    whatever its number of classes. The annotation file and the data set stay as they are.

    Departures from mmdet's ``CocoMetric``, which ignores categories for proposals alone: nothing is rounded (it keeps
    three decimals, of an AP of 0.8% a single digit); without any prediction every AP is 0 and none is missing; and only
    the images that were evaluated count, so that the first 100 of a data set (``indices=100``) have an AP of their own.
    The names, 'coco/bbox_mAP_50' and so on, and ``proposal_nums`` are its own.

    Predictions of equal score (all of MaskCut's, unless it is told otherwise) have no ranking of their own. By default
    the AP is the mean over all orders of the images (``resampling.order_stats``): it does not depend on image ids.

    Args:
        metric: 'bbox', 'segm', or a list of both.
        metric_items: Names of results; default the six of ``PRECISIONS``. Recalls are 'AR@{n}' for each of the three
            ``proposal_nums``, and 'AR_s@{n}', 'AR_m@{n}', 'AR_l@{n}' for the last of them.
        order: 'expected', or 'as given': predictions of equal score rank by the id of their image, then in the order of
            the model. That is what pycocotools does, and what published APs are made by. On a command line it is
            'as_given': mmengine removes blanks there.
        num_resamples: If not 0, each item also has '{item}_low' and '{item}_high': its 95% interval if other images
            were drawn, from so many draws of the evaluated ones (``resampling.resampled_stats``). The draws are the
            same for boxes and masks, and for any model on the same images; ``order`` holds for them, too. 1000 take
            seconds on hundreds of images.
        **kwargs: As :class:`mmdet.evaluation.CocoMetric`. ``proposal_nums`` are three ascending numbers, one of them
            100, where pycocotools computes 'mAP'. ``use_mp_eval`` changes nothing: there is one category.

    Raises:
        ValueError: A metric of proposals, or ``classwise``, for which ``CocoMetric`` is there; other
            ``proposal_nums``; ``num_resamples`` below 0; when evaluated: there was no image.
        KeyError: A name in ``metric_items`` that there is not.
        ArgumentError: Another ``order``.
    """

    def __init__(
        self,
        metric: str | Sequence[str] = 'bbox',
        metric_items: Sequence[str] | None = None,
        num_resamples: int = 0,
        order: str = 'expected',
        **kwargs,
    ) -> None:
        super().__init__(metric=[metric] if isinstance(metric, str) else [*metric], **kwargs)
        if not {*self.metrics} <= {'bbox', 'segm'} or self.classwise:
            raise ArgumentError(
                f"metric={metric!r}, classwise={self.classwise}: use CocoMetric; here is 'bbox' and 'segm'"
            )
        counts = self.proposal_nums
        if len(counts) != 3 or 100 not in counts or counts != sorted(counts):
            raise ArgumentError(f'proposal_nums={counts}: must be three ascending numbers, one of them 100')
        if num_resamples < 0:
            raise ArgumentError(f'num_resamples={num_resamples}: must be 0 (no intervals) or more')
        self.num_resamples, self.order = num_resamples, order.replace('_', ' ')
        if self.order not in ORDERS:
            raise ArgumentError(f'ClassAgnosticCocoMetric: order must be one of {", ".join(ORDERS)}, not {order!r}')
        recalls = [*(f'AR@{count}' for count in counts), *(f'AR_{size}@{counts[-1]}' for size in 'sml')]
        self.names = [*PRECISIONS, *recalls]  # of the 12 numbers in COCOeval.stats
        self.metric_items = metric_items or PRECISIONS
        if unknown := [name for name in self.metric_items if name not in self.names]:
            raise UnknownKeyError(f'metric_items: {unknown} not among {self.names}')

    def compute_metrics(self, results: Sequence[tuple[dict, dict]]) -> dict[str, float]:
        """Evaluate what ``process`` collected: pairs of the image's ground truth and its prediction.

        Returns:
            '{metric}_{item}', and with ``num_resamples`` '{metric}_{item}_low' and '{metric}_{item}_high', to a number
            from 0 to 1, or -1 where there is nothing to be found; nothing if ``format_only``.
        """
        if not results:
            raise ArgumentError('ClassAgnosticCocoMetric: no image was evaluated; is the data set empty?')
        truths, predictions = zip(*results)
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or str(Path(folder, 'results'))
            if self._coco_api is None:
                self._coco_api = COCO(self.gt_to_coco_json(truths, prefix))
            # of the ids, one is given to every prediction; pycocotools drops annotations whose id it is not told
            self.cat_ids = self._coco_api.get_cat_ids()
            unlabelled = [dict(one, labels=np.zeros_like(one['labels'])) for one in predictions]
            files = self.results2json(unlabelled, prefix)
            if self.format_only:
                return {}
            found = {metric: load(files[metric]) for metric in self.metrics}
        images = [one['img_id'] for one in predictions]
        stats = {metric: self._evaluate(metric, found[metric], images) for metric in self.metrics}
        return {f'{metric}_{name}': value for metric in self.metrics for name, value in stats[metric].items()}

    def _evaluate(self, metric: str, predictions: list[dict], images: list[int]) -> dict[str, float]:
        """The items for predictions in COCO's format on the images with these ids, and their intervals if asked for."""
        if metric == 'segm':  # else pycocotools takes the area of the box for that of the mask
            for one in predictions:
                del one['bbox']
        detections = self._coco_api.loadRes(predictions) if predictions else COCO()
        evaluation = COCOeval(self._coco_api, detections, metric)
        evaluation.params.useCats = 0
        evaluation.params.imgIds = images
        evaluation.params.maxDets = self.proposal_nums
        evaluation.params.iouThrs = np.asarray(self.iou_thrs)
        evaluation.evaluate()
        values, error = order_stats(evaluation, self.order)
        if error:
            MMLogger.get_current_instance().info(f'{metric}_mAP is a mean over orders; standard error {error:.1e}')
        stats = dict(zip(self.names, values.tolist()))
        found = {item: stats[item] for item in self.metric_items}
        if self.num_resamples:
            resampled = dict(zip(self.names, resampled_stats(evaluation, self.num_resamples, order=self.order).T))
            for item in self.metric_items:
                found[f'{item}_low'], found[f'{item}_high'] = percentile_interval(resampled[item])
        return found

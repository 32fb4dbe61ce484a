"""COCO's average precision of objects of any category."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import MMLogger

from ..datasets.loading import size_mismatch
from ..errors import ArgumentError, UnknownKeyError, UserError
from ..files import printable
from .coco_file import CocoFileError, check_coco, read_coco
from .optional_crowd import indexed
from .resampling import ORDERS, order_stats, percentile_interval, resampled_stats

PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


class ClassAgnosticCocoMetric(CocoMetric):
    """Box and mask AP with all categories taken as one: pycocotools' AP with ``useCats = 0``.

    arXiv 2308.16271 (Tables 1 and 2) and CutLER (arXiv 2301.11320) report it for unsupervised detectors. It ignores
    labels of predictions and categories of annotations, so a detector may have any number of classes.

    Departures from mmdet's ``CocoMetric``: nothing is rounded to three decimals. Without any prediction, every AP is 0.
    Only the evaluated images count, such as the first 100 of a data set (``indices=100``). Names, such as
    'coco/bbox_mAP_50', and ``proposal_nums`` are the same as in ``CocoMetric``.

    Predictions of equal score (by default all of MaskCut's) have no ranking. The AP is then the mean over all orders of
    the images (``resampling.order_stats``), which does not depend on image ids.

    Args:
        metric: 'bbox', 'segm', or a list of both.
        metric_items: Names of results; default ``PRECISIONS`` and 'AR@100', CutLER's AR100. Recalls are 'AR@{n}' for
            each of the three ``proposal_nums``, and 'AR_s@{n}', 'AR_m@{n}', 'AR_l@{n}' for the last of them.
        order: 'expected', or 'as given': predictions of equal score rank by the id of their image, then in the order of
            the model, as in pycocotools and published APs. On a command line write 'as_given': mmengine removes blanks.
        num_resamples: Number of bootstrap draws of the evaluated images (``resampling.resampled_stats``). If not 0,
            each item also has '{item}_low' and '{item}_high', its 95% interval. The draws are the same for boxes,
            masks, and any model on the same images. 1000 take seconds on hundreds of images.
        ann_file: COCO file of the ground truth, checked at once (``coco_file.read_coco``); default: the data set's.
        backend_args: Arguments of mmengine's file backend.
        **kwargs: Arguments of :class:`mmdet.evaluation.CocoMetric`. ``proposal_nums`` are three ascending numbers, one
            of them 100, for which pycocotools computes 'mAP'. ``use_mp_eval`` changes nothing: there is one category.

    Raises:
        ValueError: A metric of proposals, or ``classwise``: use ``CocoMetric``; wrong ``proposal_nums`` or ``order``;
            ``num_resamples`` below 0; when evaluated: there was no image.
        KeyError: Unknown name in ``metric_items``.
        CocoFileError: The annotation file cannot be used; the message names the file and the annotation.
    """

    def __init__(
        self,
        metric: str | Sequence[str] = 'bbox',
        metric_items: Sequence[str] | None = None,
        num_resamples: int = 0,
        order: str = 'expected',
        ann_file: str | None = None,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        metrics = [metric] if isinstance(metric, str) else [*metric]
        super().__init__(metric=metrics, backend_args=backend_args, **kwargs)
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
        self.metric_items = metric_items or (*PRECISIONS, 'AR@100')
        if unknown := [name for name in self.metric_items if name not in self.names]:
            raise UnknownKeyError(f'metric_items: {unknown} not among {self.names}')
        if ann_file is not None:
            self._coco_api = indexed(read_coco(ann_file, 'segm' in self.metrics, backend_args, not self.format_only))

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch, if they can be evaluated.

        Raises:
            CocoFileError: The annotation file does not know the image, or has another size for it than was loaded.
            UserError: The model predicts NaN, masks of another size, or no masks although masks are evaluated.
        """
        for sample in data_samples:
            self._check(sample)
        super().process(data_batch, data_samples)

    def _check(self, sample: dict) -> None:
        """Check one image; after all images pycocotools would say nothing, or nothing that helps."""
        path = sample.get('img_path', f'image {sample["img_id"]}')
        shape, found = tuple(sample['ori_shape']), sample['pred_instances']
        if self._coco_api is not None:
            image = self._coco_api.imgs.get(sample['img_id'])
            if image is None:
                raise CocoFileError(f'{printable(path)}: id {sample["img_id"]} is not among the images of ann_file')
            named = image['height'], image['width']
            if named != shape:
                raise CocoFileError(size_mismatch(path, shape, named, 'the annotation file'))
        if not (found['bboxes'].isfinite().all() and found['scores'].isfinite().all()):
            raise UserError(f'{printable(path)}: the model predicts NaN or inf; check the checkpoint')
        if 'segm' in self.metrics and 'masks' not in found:
            raise UserError(f"{printable(path)}: the model predicts no masks: set metric='bbox'")
        masks = found.get('masks')
        if isinstance(masks, torch.Tensor | np.ndarray) and len(masks) and tuple(masks.shape[1:]) != shape:
            raise UserError(f'{printable(path)}: masks of {tuple(masks.shape[1:])} on an image of {shape}')

    def compute_metrics(self, results: Sequence[tuple[dict, dict]]) -> dict[str, float]:
        """Evaluate what ``process`` collected: pairs of the image's ground truth and its prediction.

        Returns:
            '{metric}_{item}', and with ``num_resamples`` '{metric}_{item}_low' and '{metric}_{item}_high', to a number
            from 0 to 1, or -1 if there are no objects; empty if ``format_only``.
        """
        if not results:
            raise ArgumentError('ClassAgnosticCocoMetric: no image was evaluated; is the data set empty?')
        truths, predictions = zip(*results)
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or str(Path(folder, 'results'))
            if self._coco_api is None:
                truth = dict(annotations=[]) | load(self.gt_to_coco_json(truths, prefix))
                check_coco(truth, 'annotations of the data set', 'segm' in self.metrics)
                self._coco_api = indexed(truth)
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
        """Return the items for predictions in COCO's format on the images with these ids, and their intervals."""
        if metric == 'segm':  # else pycocotools uses the area of the box as the area of the mask
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

"""Measures of one found object per image: CorLoc of its box, and saliency of its mask."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor
from torchvision.ops import box_iou

from ..errors import ArgumentError, UserError
from ..files import printable
from ..maskcut.postprocess import tight_box

BETA_2 = 0.3  # weight of the recall in the F-measure
NUM_THRESHOLDS = 255


@METRICS.register_module()
class CorLoc(BaseMetric):
    """Correct localisation: share of the images whose one predicted box has IoU >= 0.5 with some annotated box.

    Protocol of LOST (arXiv 2109.14279) and TokenCut (arXiv 2202.11539, Section 4.2). The box of highest score counts;
    of equal scores, the first. An image without a prediction is wrong. An image without an annotated box is left out.

    Args:
        count_ignored: Whether boxes that the data set marks as ignored count, too. VOC marks difficult objects, which
            the protocol counts; COCO marks crowds, which it does not count.
        iou: Smallest intersection over union of a correct box.
        from_map: Whether the only box of an image is the tight box of its map's object, as in :class:`Saliency`; the
            data set then has no boxes.
        above: Values of the map above it are the object.
        ignore_index: Value of pixels of the map that do not count.
        collect_device: Device for results of several processes, as in mmengine.
        prefix: Prefix of the result's name, as in mmengine.

    Results: 'CorLoc', in percent.
    """

    default_prefix = 'discovery'

    def __init__(
        self,
        count_ignored: bool = False,
        iou: float = 0.5,
        from_map: bool = False,
        above: int = 0,
        ignore_index: int | None = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        if not 0 < iou <= 1:
            raise ArgumentError(f'CorLoc: iou must be above 0 and at most 1, not {iou}')
        self.count_ignored, self.iou = count_ignored, iou
        self.from_map, self.above, self.ignore_index = from_map, above, ignore_index

    def process(self, data_batch: Mapping, data_samples: Sequence[Mapping]) -> None:
        """Keep whether the box of each image is correct.

        Args:
            data_batch: Not used.
            data_samples: One per image, with ``pred_instances`` and ``gt_instances`` of mmdet, both in the original
                image; or with ``gt_sem_seg``, a map (1, H, W).
        """
        for sample in data_samples:
            truth = self._box_of_map(sample) if self.from_map else self._annotated(sample)
            if len(truth):
                self.results.append(self._is_correct(sample['pred_instances'], truth))

    def _annotated(self, sample: Mapping) -> Tensor:
        parts = [sample['gt_instances'], sample['ignored_instances']][: 1 + self.count_ignored]
        return torch.cat([_boxes(part['bboxes']) for part in parts])

    def _box_of_map(self, sample: Mapping) -> Tensor:
        labels = np.asarray(sample['gt_sem_seg']['data'].cpu())[0]
        mask = (labels > self.above) & (labels != self.ignore_index)
        return torch.tensor([tight_box(mask)] if mask.any() else [], dtype=torch.float32).reshape(-1, 4)

    def _is_correct(self, found: Mapping, truth: Tensor) -> bool:
        if not len(found['scores']):
            return False
        best = int(found['scores'].cpu().argmax())
        return bool(box_iou(_boxes(found['bboxes'])[best, None], truth).max() >= self.iou)

    def compute_metrics(self, results: Sequence[bool]) -> dict[str, float]:
        """Return the share of correct images, in percent."""
        if not results:
            raise ArgumentError('CorLoc: no image with an annotated box was evaluated; is the data set empty?')
        return dict(CorLoc=100 * float(np.mean(results)))


@METRICS.register_module()
class Saliency(BaseMetric):
    """IoU, accuracy and max F-measure of the found mask against the salient object.

    Of image i with the object G_i and the predicted map p_i in [0, 1], at threshold t: precision P_i(t) and recall
    R_i(t) of {p_i >= t}. With beta^2 = 0.3 (arXiv 2202.11539, Section 4.3):

        F_i(t) = (1 + beta^2) P_i(t) R_i(t) / (beta^2 P_i(t) + R_i(t)),   max F = max over t of the mean of F_i(t).

    IoU and accuracy (share of the pixels that are right) are those of {p_i >= 0.5}, and means over the images. The
    prediction is the union of an image's masks, so p_i is 0 or 1, or a map of probabilities, ``pred_saliency``.

    Args:
        above: Values of the annotated map above it are the object: 127 for black and white maps, 0 for label maps.
        ignore_index: Value of pixels that do not count; default: all count.
        collect_device: Device for results of several processes, as in mmengine.
        prefix: Prefix of the results' names, as in mmengine.

    Results: 'IoU', 'accuracy', 'max_F', in percent.
    """

    default_prefix = 'saliency'

    def __init__(
        self,
        above: int = 127,
        ignore_index: int | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.above, self.ignore_index = above, ignore_index

    def process(self, data_batch: Mapping, data_samples: Sequence[Mapping]) -> None:
        """Keep the numbers of each image.

        Args:
            data_batch: Not used.
            data_samples: One per image: ``gt_sem_seg``, a map (1, H, W); and ``pred_saliency`` (H, W) from 0 to 1, or
                ``pred_instances`` with ``masks`` (n, H, W).

        Raises:
            UserError: A map has another size than the image.
        """
        for sample in data_samples:
            truth = np.asarray(sample['gt_sem_seg']['data'].cpu())[0]
            found = sample.get('pred_saliency')
            if found is None:
                found = sample['pred_instances']['masks'].any(0)
            found = np.asarray(torch.as_tensor(found).cpu(), dtype=np.float32)
            if found.shape != truth.shape:
                path = printable(sample.get('img_path', 'an image'))
                raise UserError(f'{path}: a prediction of {found.shape} for a map of {truth.shape}')
            counts = truth != self.ignore_index
            self.results.append(image_saliency(found[counts], truth[counts] > self.above))

    def compute_metrics(self, results: Sequence[tuple[float, float, np.ndarray]]) -> dict[str, float]:
        """Return the means over the images, in percent."""
        if not results:
            raise ArgumentError('Saliency: no image was evaluated; is the data set empty?')
        ious, accuracies, measures = zip(*results)
        best = float(np.mean(measures, axis=0).max())
        return dict(IoU=100 * float(np.mean(ious)), accuracy=100 * float(np.mean(accuracies)), max_F=100 * best)


def image_saliency(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return IoU and accuracy of {found >= 0.5}, and the F-measure at each threshold 1/255, ..., 255/255.

    Args:
        found: Any shape, from 0 to 1.
        truth: bool, of the same shape.
    """
    mask = found >= 0.5
    union = (mask | truth).sum()
    iou = (mask & truth).sum() / union if union else 1.0  # both empty: nothing was there, nothing was found
    steps = np.floor(found * NUM_THRESHOLDS + 1e-4).astype(int)  # the last threshold that a pixel reaches
    kept = _at_least(np.bincount(steps.ravel(), minlength=NUM_THRESHOLDS + 1))
    hits = _at_least(np.bincount(steps[truth], minlength=NUM_THRESHOLDS + 1))
    # with P = hits / kept and R = hits / objects, F is (1 + b) hits / (b objects + kept)
    total = BETA_2 * truth.sum() + kept
    measures = np.divide((1 + BETA_2) * hits, total, out=np.zeros(NUM_THRESHOLDS), where=total > 0)
    return float(iou), float((mask == truth).mean()), measures


def _at_least(counts: np.ndarray) -> np.ndarray:
    """Return how many reach each threshold but the zeroth, which all do."""
    return counts[::-1].cumsum()[::-1][1:]


def _boxes(boxes: Tensor) -> Tensor:
    """Return boxes (n, 4), which may be of a box type of mmdet, as float32 on the CPU."""
    return torch.as_tensor(getattr(boxes, 'tensor', boxes), dtype=torch.float32, device='cpu')

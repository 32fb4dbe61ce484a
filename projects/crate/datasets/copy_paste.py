"""Copy-paste with objects of random size, as CutLER trains its detectors."""

import mmcv
import numpy as np
from mmdet.datasets.transforms import CopyPaste
from mmdet.structures.mask import BitmapMasks

from ..errors import ArgumentError


class ScaledCopyPaste(CopyPaste):
    """Paste a random number of objects of another image, made smaller, into this image (arXiv 2301.11320, section 3.3).

    The other image (h, w) is first scaled by s min(H / h, W / w), with s uniform in ``scale_range``. It then fits into
    this image (H, W), where its place is random, too. mmdet's ``CopyPaste`` does the rest: from none to all of the
    objects are pasted, what they cover is taken away from the masks of this image, and the boxes follow.

    ``CopyPaste`` itself needs two images of one size. Departures from it: the image keeps its type (there uint8 becomes
    int64), and no empty mask remains. Use it in the pipeline of a ``MultiImageMixDataset``.

    Args:
        scale_range: Smallest and largest s, each above 0 and at most 1.
        **kwargs: Arguments of mmdet's ``CopyPaste``. An object that is covered is dropped if its box moved by more than
            ``bbox_occluded_thr`` pixels and at most ``mask_occluded_thr`` pixels of it are left.

    Raises:
        ValueError: ``scale_range`` is no such range.
    """

    def __init__(self, scale_range: tuple[float, float] = (0.3, 1.0), **kwargs) -> None:
        super().__init__(**kwargs)
        low, high = scale_range
        if not 0 < low <= high <= 1:
            raise ArgumentError(f'ScaledCopyPaste: scale_range must ascend within 0 and 1, not {scale_range}')
        self.scale_range = low, high

    def transform(self, results: dict) -> dict:
        """Paste objects of ``results['mix_results'][0]``; both have 'img' (H, W, 3), boxes, labels and masks."""
        kind, size = results['img'].dtype, results['img'].shape[:2]
        (other,) = results['mix_results']
        pasted = super().transform(dict(results, mix_results=[self._fit(other, size)]))
        return _without_empty_masks(dict(pasted, img=pasted['img'].astype(kind)))

    def _fit(self, other: dict, size: tuple[int, int]) -> dict:
        """Return the other image and its objects on a canvas of a size (H, W)."""
        masks = self.get_gt_masks(other)
        factor = np.random.uniform(*self.scale_range) * min(np.divide(size, other['img'].shape[:2]))
        height, width = (max(1, int(side * factor)) for side in other['img'].shape[:2])
        top, left = (np.random.randint(whole - part + 1) for whole, part in zip(size, (height, width)))
        place = slice(top, top + height), slice(left, left + width)
        image = np.zeros((*size, *other['img'].shape[2:]), dtype=other['img'].dtype)
        image[place] = mmcv.imresize(other['img'], (width, height))
        canvas = np.zeros((len(masks), *size), dtype=np.uint8)
        canvas[(slice(None), *place)] = masks.resize((height, width)).masks
        fitted = BitmapMasks(canvas, *size)
        boxes = fitted.get_bboxes(type(other['gt_bboxes']))
        return _without_empty_masks(dict(other, img=image, gt_masks=fitted, gt_bboxes=boxes))


def _without_empty_masks(results: dict) -> dict:
    """Return the results without the objects whose mask is empty."""
    kept = np.flatnonzero(results['gt_masks'].areas)
    names = 'gt_masks', 'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'
    return results | {name: results[name][kept] for name in names}

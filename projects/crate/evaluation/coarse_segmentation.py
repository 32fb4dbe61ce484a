"""Coarse segmentation by attention, as a metric of a data set."""

import io
import logging
import time
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from rich.console import Console
from rich.table import Table

from ..datasets.label_maps import LabelMapError
from ..errors import ArgumentError
from ..files import printable
from .best_head import binarise, check_rule, head_iou, label_tokens

RESOLUTIONS = ('image', 'token')


@METRICS.register_module()
class BestHeadIoU(BaseMetric):
    """mIoU of the best head (arXiv 2308.16271, Appendix B.3, Figure 4b and Table 2; protocol of DINO).

    Each head's attention of [CLS] becomes a mask. Per class and image the IoU of the best head counts; the mean is over
    the classes of an image, then over the images. Background and void are no classes, and void pixels are ignored.
    Images without any class are left out; the log says how many.

    For :class:`projects.crate.models.AttentionSegmentor` with any data set of mmseg whose class 0 is the background,
    such as ``PascalVOCDataset``. Results, in percent, for each of its layers:

    - ``coarse_seg/layer_{l}/mIoU``: see above;
    - ``coarse_seg/layer_{l}/head_{k}``: the same mean for one head alone;
    - ``coarse_seg/layer_{l}/{class}``: mean IoU of the best head over the images with the class;
    - ``coarse_seg/layer_{l}/image_{i}``, if ``per_image``: mean over the classes of the i-th image of the data set.

    The log has them as tables, with the settings and the share of the time that the metric took.

    Args:
        rule: 'mass' or 'top': how a map becomes a mask (``binarise``).
        share: Share of the mass or of the entries.
        resolution: 'image': masks are brought to the size of the ground truth by nearest neighbour (DINO). 'token': the
            ground truth is brought to the token grid by the label at each token's centre. A class that vanishes there
            is not in the image.
        ignore_index: Void label.
        per_image: Whether to return the value of every image, for intervals and tests.
        collect_device: 'cpu' or 'gpu', as in every metric.
        prefix: Prefix of the results' names.
        collect_dir: Argument of every metric.

    Raises:
        ValueError: Unknown rule or resolution, share outside (0, 1].
        LabelMapError: No image has a class; a label map has another size than its photo, or a label that the data set
            does not name. The transform ``LoadLabelMap`` says what is wrong with a label map.
    """

    default_prefix = 'coarse_seg'

    def __init__(
        self,
        rule: str = 'mass',
        share: float = 0.6,
        resolution: str = 'image',
        ignore_index: int = 255,
        per_image: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        check_rule(rule, share)
        if resolution not in RESOLUTIONS:
            raise ArgumentError(f'resolution must be one of {", ".join(RESOLUTIONS)}; not {resolution!r}')
        self.rule, self.share, self.resolution, self.ignore_index = rule, share, resolution, ignore_index
        self.per_image = per_image
        self._seconds, self._begin = 0.0, None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the scores of each image, {layer: {class: IoU of every head (K,)}}.

        Args:
            data_batch: Not used.
            data_samples: Predictions, as mmengine's evaluator makes dictionaries of them.
        """
        if self.dataset_meta and self.dataset_meta.get('reduce_zero_label'):
            raise ArgumentError('BestHeadIoU: class 0 must be the background: set reduce_zero_label=False')
        first = self.dataset_meta['classes'][0] if self.dataset_meta else 'background'
        if self._begin is None and first != 'background':
            print_log(f'BestHeadIoU: class 0, {first!r}, is left out as the background', 'current', logging.WARNING)
        start = now()
        self.results += [self._score(sample) for sample in data_samples]
        end = now()
        if self._begin is None:  # the forward pass of the first batch is not on the clock
            self._begin = end
        else:
            self._seconds += end - start

    def _score(self, sample: dict) -> dict[int, dict[int, np.ndarray]]:
        """Score all heads of all layers of one image at once."""
        maps = sample['cls_attention']
        target = self._target(sample)
        attention = torch.cat([*maps.values()])
        extent = tuple(Fraction(*pair) for pair in zip(sample['img_shape'], sample['patch_size']))
        if self.resolution == 'token':
            target = label_tokens(target, attention.shape[1:], self.ignore_index, extent)
            extent = None
        scores = head_iou(binarise(attention, self.rule, self.share), target, self.ignore_index, extent)
        if unknown := [index for index in scores if index >= len(self.dataset_meta['classes'])]:
            path = printable(sample['seg_map_path'])
            raise LabelMapError(f'{path}: label {unknown[0]} is not a class of the data set')
        rows = {index: values.cpu().numpy().reshape(len(maps), -1) for index, values in scores.items()}
        return {layer: {index: values[i] for index, values in rows.items()} for i, layer in enumerate(maps)}

    def _target(self, sample: dict) -> torch.Tensor:
        """Return the label map (H, W), in the size of the photo before or after resizing."""
        target = sample['gt_sem_seg']['data']
        shapes = [tuple(sample[key]) for key in ('ori_shape', 'img_shape') if key in sample]
        if 'ori_shape' in sample and (target.shape[0] != 1 or tuple(target.shape[1:]) not in shapes):
            raise LabelMapError(
                f'{printable(sample["seg_map_path"])}: the label map is not one of (height, width) {shapes[0]}, the '
                "photo's; load it with dict(type='LoadLabelMap'), which says what is wrong"
            )
        return target[0]

    def compute_metrics(self, results: list[dict[int, dict[int, np.ndarray]]]) -> dict[str, float]:
        """Average over all images, see the class."""
        scored = [image for image in results if any(image.values())]
        if not scored:
            raise LabelMapError(f'BestHeadIoU: none of the {len(results)} images has a class')
        metrics, names = {}, self.dataset_meta['classes']
        layers, classes = [*scored[0]], sorted({index for image in scored for index in image[next(iter(image))]})
        for layer in layers:
            images = [np.stack([*image[layer].values()]) for image in scored]  # (C, K) each
            values = dict(mIoU=np.mean([image.max(1).mean() for image in images]))
            heads = np.mean([image.mean(0) for image in images], axis=0)
            values |= {f'head_{head}': value for head, value in enumerate(heads)}
            for index in classes:
                values[names[index]] = np.mean([image[layer][index].max() for image in scored if index in image[layer]])
            if self.per_image:
                found = {i: [scores.max() for scores in image[layer].values()] for i, image in enumerate(results)}
                values |= {f'image_{i}': np.mean(best) for i, best in found.items() if best}
            metrics |= {f'layer_{layer}/{key}': 100 * float(value) for key, value in values.items()}
        counts = {names[index]: sum(index in image[layers[0]] for image in scored) for index in classes}
        self._log(metrics, layers, len(heads), counts, len(results) - len(scored))
        return metrics

    def _log(
        self, metrics: dict[str, float], layers: Sequence[int], num_heads: int, counts: dict[str, int], without: int
    ) -> None:
        """Log one table with a row per layer, one with a row per class, and the settings."""
        heads = ['mIoU', *(f'head_{head}' for head in range(num_heads))]
        by_head = [[f'layer {layer}', *(metrics[f'layer_{layer}/{key}'] for key in heads)] for layer in layers]
        by_class = [
            [name, str(n), *(metrics[f'layer_{layer}/{name}'] for layer in layers)] for name, n in counts.items()
        ]
        seconds = now() - self._begin
        share = f', metric: {100 * self._seconds / seconds:.1f}% of the time' if self._seconds else ''
        self._seconds, self._begin = 0.0, None
        print_log(
            f'coarse segmentation (%): best head per class and image (mIoU), and one head for all; rule {self.rule!r}, '
            f'share {self.share}, {self.resolution} resolution; images without a class, left out: {without}{share}\n'
            + _render(['', *heads], by_head)
            + 'best head, by class\n'
            + _render(['class', 'images', *(f'layer {layer}' for layer in layers)], by_class),
            logger='current',
        )


def _render(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """Return a table as text, numbers with one decimal."""
    table = Table()
    for index, name in enumerate(header):
        table.add_column(name, justify='right' if index else 'left')
    for row in rows:
        table.add_row(*(cell if isinstance(cell, str) else f'{cell:.1f}' for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=max(80, 12 * len(header) + 10)).print(table)
    return buffer.getvalue()


def now() -> float:
    """Return seconds on the clock, after all that the GPU was told to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()

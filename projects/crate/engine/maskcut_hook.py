"""Run MaskCut while a model trains: the curve of segmentation emerging (arXiv 2308.16271, Figure 10)."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..datasets.loading import LoadImageOrSkip, read_shape, size_mismatch
from ..errors import MissingPackageError
from ..evaluation.coco_file import CocoFileError, read_coco
from ..files import atomic
from ..maskcut import MIN_GAP
from ..models.maskcut_detector import MaskCutDetector
from ..registration import installed_libraries
from .measuring_hook import MeasuringHook, find_function


@HOOKS.register_module()
class MaskCutHook(MeasuringHook):
    """Run MaskCut with the backbone in training: AP on a COCO-format set every few epochs, and pictures.

    It serves training runs of mmpretrain, mmdet and mmseg. Its data sets and its metric are mmdet's, which must be
    installed. After each evaluation the work folder has in ``{name}/``

    - ``epoch_{n}.png`` (or ``iter_{n}.png``): the first images with their masks; in a distributed run, the first
      images of the main process;
    - ``curve.json``: all evaluations up to now, ``[{"step": n, "coco/bbox_mAP": ...}, ...]``;
    - ``curve.png``: AP against the step.

    The visualizer gets the picture, too. In a distributed run the images are split over the processes.

    >>> dict(type='MaskCutHook', interval=5, layer=10, dataloader=dict(
    ...     batch_size=8, num_workers=4, dataset=dict(type='CocoDataset', test_mode=True, ..., pipeline=...)))

    Args:
        dataloader: Config of a data loader over a COCO-format set in mmdet's scope, its pipeline as in
            ``configs/maskcut``. Its sampler, if none is given, takes the images in order.
        layer, tau, num_masks, crf, score, facet, centred, min_gap: Arguments of :class:`MaskCutDetector`.
        evaluator: Config of a metric, or several; default ``ClassAgnosticCocoMetric`` of boxes and masks with the
            annotation file of the data set.
        num_pictures: Number of images in the picture; 0 draws none.
        name: Name of the folder and prefix of the metrics.
        draw: Name in ``FUNCTIONS`` of a function (images, masks) -> picture; None draws neither masks nor curves.
        **kwargs: Arguments of :class:`MeasuringHook`: ``interval``, ``by_epoch``, ``initial``, ``backbone``,
            ``use_ema``, ``data_preprocessor``.

    Raises:
        ValueError: See :class:`MeasuringHook`.
        ImportError: Before training: mmdet is not installed.
        FileNotFoundError: Before training: the annotation file is missing.
        CocoFileError: Before training: the annotation file cannot be used, or names other sizes than its images have.
    """

    scope = 'mmdet'

    def __init__(
        self,
        dataloader: dict,
        layer: int | Sequence[int] = -1,
        tau: float = 0.15,
        num_masks: int | str = 3,
        crf: bool = False,
        score: str = 'one',
        facet: str | None = None,
        centred: bool = False,
        min_gap: float = MIN_GAP,
        evaluator: dict | list[dict] | None = None,
        num_pictures: int = 16,
        name: str = 'maskcut',
        draw: str | None = 'crate_draw_masks',
        **kwargs,
    ) -> None:
        super().__init__(name, draw, **kwargs)
        self.dataloader = dataloader
        self.cut = dict(layer=layer, tau=tau, num_masks=num_masks, crf=crf, score=score, facet=facet, centred=centred)
        self.cut['min_gap'] = min_gap
        self.evaluator = evaluator
        self.num_pictures = num_pictures
        # how photographs are loaded: as they are stored, or upright
        self._color_type = 'color_ignore_orientation' if 'ignore_orientation' in str(dataloader) else 'color'

    def build(self, runner: Runner) -> None:
        """Build the loader, the metric and the detector around the backbone."""
        if 'mmdet' not in installed_libraries():
            raise MissingPackageError('MaskCutHook needs mmdet, for COCO-format data sets and AP: pip install mmdet')
        self._check_annotations()
        self._loader = self.build_loader(runner, self.dataloader)
        self._check_sizes()
        self._metric = self._build_evaluator()
        self._detector = MaskCutDetector(*self.find_backbone(runner, self.use_ema), **self.cut)

    def _check_annotations(self) -> None:
        """Check the annotation file before the data set reads it; a given evaluator checks its own file."""
        dataset = self.dataloader['dataset']
        path = os.path.join(dataset.get('data_root') or '', dataset.get('ann_file') or '')  # noqa: PTH118 (or a URL)
        if Path(path).is_file():
            read_coco(path, masks=self.evaluator is None)

    def _check_sizes(self) -> None:
        """Check that the annotations have the sizes of the images as they are loaded; only headers are read."""
        for index in range(len(self._loader.dataset)):
            image = self._loader.dataset.get_data_info(index)
            path, named = image['img_path'], (image.get('height'), image.get('width'))
            if None in named or '://' in path:
                continue
            if (shape := read_shape(path, self._color_type == 'color')) != named:
                raise CocoFileError(size_mismatch(path, shape, named, 'the annotation file'))

    def _build_evaluator(self) -> Evaluator:
        dataset = self._loader.dataset
        metric = dict(type='ClassAgnosticCocoMetric', metric=['bbox', 'segm'], ann_file=dataset.ann_file)
        evaluator = Evaluator(self.evaluator or metric)
        evaluator.dataset_meta = dataset.metainfo
        return evaluator

    def measure(self) -> tuple[dict[str, float], list[tuple[np.ndarray, np.ndarray]]]:
        """Return metrics over all images, and the first images of this process with their masks."""
        pictures = []
        wanted = self.num_pictures if is_main_process() else 0
        load = LoadImageOrSkip(skip=False, color_type=self._color_type)
        for batch in self._loader:
            samples = self._detector.test_step(batch)
            self._metric.process(data_samples=samples, data_batch=batch)
            for sample in samples[: wanted - len(pictures)]:
                image = np.ascontiguousarray(load(dict(img_path=sample.img_path))['img'][..., ::-1])
                pictures.append((image, sample.pred_instances.masks.cpu().numpy()))
        return self._metric.evaluate(len(self._loader.dataset)), pictures

    def save_pictures(self, runner: Runner, folder: Path, step: int, curve: list[dict], arrays: list) -> None:
        """Write the curve, and the images with their masks."""
        keys = [key for key in curve[-1] if key.endswith('mAP')] or list(curve[-1])[1:]
        lines = {key: zip(*((record['step'], record[key]) for record in curve if key in record)) for key in keys}
        figure = find_function('crate_draw_curves')(lines, 'epoch' if self.by_epoch else 'iteration', 'AP')
        with atomic(folder / 'curve.png') as part:
            figure.savefig(part, format='png')
        if arrays:
            self.save_picture(runner, folder, step, arrays)

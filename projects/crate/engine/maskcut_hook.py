"""MaskCut while a model trains: the curve of segmentation emerging (arXiv 2308.16271, Figure 10)."""

import os
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image

from ..datasets.loading import LoadImageOrSkip, read_shape, size_mismatch
from ..errors import MissingPackageError
from ..evaluation.coco_file import CocoFileError, read_coco
from ..files import atomic
from ..models.maskcut_detector import MaskCutDetector
from ..registration import installed_libraries
from ..study.masks import mask_grid
from .aside import AsideHook


@HOOKS.register_module()
class MaskCutHook(AsideHook):
    """Every few epochs or iterations: MaskCut with the backbone in training, AP on a COCO-format set, and pictures.

    For training runs of mmpretrain, mmdet and mmseg alike; mmdet, whose data sets and metric are used, must be
    installed. After each evaluation the work folder has in ``{name}/``

    - ``epoch_{n}.png`` (or ``iter_{n}.png``): the first images with their masks; in a distributed run, the first of
      those that the main process sees;
    - ``curve.json``: all evaluations up to now, ``[{"step": n, "coco/bbox_mAP": ...}, ...]``;
    - ``curve.png``: AP against the step.

    The log gets a line, and every backend of the run's visualizer the metrics as ``{name}/{metric}`` and the picture,
    at step n. The training does not notice, and a resumed run goes on with its curve: see :class:`AsideHook`. In a
    distributed run the images are split over the processes.

    >>> dict(type='MaskCutHook', interval=5, layer=10, dataloader=dict(
    ...     batch_size=8, num_workers=4, dataset=dict(type='CocoDataset', test_mode=True, ..., pipeline=...)))

    Args:
        dataloader: Config of a data loader over a COCO-format set in mmdet's scope, its pipeline as in
            ``configs/maskcut``. Its sampler, if none is given, takes the images in order.
        interval: Epochs or iterations between two evaluations.
        by_epoch: Whether ``interval`` counts epochs; a run by iterations needs False.
        initial: Also evaluate before the first iteration, as step 0.
        backbone: Dotted name of the backbone within the model ('student.backbone', say): CRATE, or mmpretrain's
            VisionTransformer.
        use_ema: Take the weights averaged by mmengine's ``EMAHook``.
        data_preprocessor: Config; default is the normalisation and the channel order that the model trains with.
        layer: 0-based index of the layer whose features are cut; negative ones count from the end.
        tau: Threshold of the cosine.
        num_masks: Most masks per image.
        crf: Refine the masks with a dense CRF (extra ``crf``).
        score: Score of a mask: 'one', 'round' or 'ncut'; see :class:`MaskCutDetector`.
        evaluator: Config of a metric, or several; default ``ClassAgnosticCocoMetric`` of boxes and masks with the
            annotation file of the data set.
        num_pictures: Images in the picture; 0 draws none.
        name: Of the folder and the metrics; two of these hooks in one run need two names.

    Raises:
        ValueError: ``interval`` is less than 1; before training: there is no such backbone or no ``EMAHook``, FSDP has
            sharded the weights, or the training loop knows no epochs to count.
        ImportError: Before training: mmdet is not installed.
        FileNotFoundError: Before training: the annotation file is missing.
        CocoFileError: Before training: the annotation file cannot be used, or names other sizes than its images have.
    """

    scope = 'mmdet'

    def __init__(
        self,
        dataloader: dict,
        interval: int = 1,
        by_epoch: bool = True,
        initial: bool = False,
        backbone: str = 'backbone',
        use_ema: bool = False,
        data_preprocessor: dict | None = None,
        layer: int = -1,
        tau: float = 0.15,
        num_masks: int = 3,
        crf: bool = False,
        score: str = 'one',
        evaluator: dict | list[dict] | None = None,
        num_pictures: int = 16,
        name: str = 'maskcut',
    ) -> None:
        super().__init__(interval, by_epoch, initial, backbone, use_ema, data_preprocessor, name)
        self.dataloader = dataloader
        self.cut = dict(layer=layer, tau=tau, num_masks=num_masks, crf=crf, score=score)
        self.evaluator = evaluator
        self.num_pictures = num_pictures

    def build(self, runner: Runner) -> None:
        """The loader, the metric and the detector around the backbone."""
        if 'mmdet' not in installed_libraries():
            raise MissingPackageError('MaskCutHook needs mmdet, for COCO-format data sets and AP: pip install mmdet')
        self._check_annotations()
        self._loader = self.build_loader(runner, self.dataloader)
        self._check_sizes()
        self._metric = self._build_evaluator()
        self._detector = MaskCutDetector(*self.find_backbone(runner, self.use_ema), **self.cut)

    def _check_annotations(self) -> None:
        """The annotation file, before the data set reads it; an evaluator of one's own checks its file itself."""
        dataset = self.dataloader['dataset']
        path = os.path.join(dataset.get('data_root') or '', dataset.get('ann_file') or '')  # noqa: PTH118 (or a URL)
        if Path(path).is_file():
            read_coco(path, masks=self.evaluator is None)

    @property
    def _color_type(self) -> str:
        """How photographs are loaded: upright, or as they are stored."""
        return 'color_ignore_orientation' if 'ignore_orientation' in str(self.dataloader) else 'color'

    def _check_sizes(self) -> None:
        """The annotations of every image belong to its pixels as they are loaded; only headers are read."""
        for index in range(len(self._loader.dataset)):
            image = self._loader.dataset.get_data_info(index)
            path, named = image['img_path'], (image.get('height'), image.get('width'))
            if None in named or '://' in path:
                continue
            if (shape := read_shape(path, self._color_type == 'color')) != named:
                raise CocoFileError(size_mismatch(path, shape, named, 'the annotation file'))

    def _build_evaluator(self) -> Evaluator:
        dataset = self._loader.dataset
        metric = self.evaluator or dict(
            type='ClassAgnosticCocoMetric', metric=['bbox', 'segm'], ann_file=dataset.ann_file
        )
        evaluator = Evaluator(metric)
        evaluator.dataset_meta = dataset.metainfo
        return evaluator

    def measure(self) -> tuple[dict[str, float], list[tuple[np.ndarray, np.ndarray]]]:
        """Metrics over all images, and the first images of this process with their masks."""
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

    def draw(self, runner: Runner, folder: Path, step: int, curve: list[dict], pictures: list) -> None:
        """The curve, and the images with their masks."""
        with atomic(folder / 'curve.png') as part:
            self._curve_figure(curve).savefig(part, format='png')
        if pictures:
            grid = mask_grid(*zip(*pictures))
            with atomic(folder / f'{self.unit}_{step}.png') as part:
                Image.fromarray(grid).save(part, format='png')
            runner.visualizer.add_image(self.name, grid, step=step)

    def _curve_figure(self, curve: list[dict]):
        """The APs against the step; all metrics, if none is an AP."""
        from ..study.curves import curve_figure  # here: matplotlib takes a second to import

        keys = [key for key in curve[-1] if key.endswith('mAP')] or list(curve[-1])[1:]
        lines = {key: zip(*((record['step'], record[key]) for record in curve if key in record)) for key in keys}
        return curve_figure(lines, 'epoch' if self.by_epoch else 'iteration', 'AP')

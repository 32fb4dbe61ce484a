"""MaskCut while a model trains: the curve of segmentation emerging (arXiv 2308.16271, Figure 10)."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine import fileio
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook, IterTimerHook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import IterBasedTrainLoop, Runner
from PIL import Image
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..files import atomic
from ..models.maskcut_detector import MaskCutDetector
from ..registration import installed_libraries
from ..visualization.masks import mask_grid


@HOOKS.register_module()
class MaskCutHook(Hook):
    """Every few epochs or iterations: MaskCut with the backbone in training, AP on a COCO-format set, and pictures.

    For training runs of mmpretrain, mmdet and mmseg alike; mmdet, whose data sets and metric are used, must be
    installed. After each evaluation the work folder has in ``{name}/``

    - ``epoch_{n}.png`` (or ``iter_{n}.png``): the first images with their masks; in a distributed run, the first of
      those that the main process sees;
    - ``curve.json``: all evaluations up to now, ``[{"step": n, "coco/bbox_mAP": ...}, ...]``;
    - ``curve.png``: AP against the step.

    The log gets a line, and every backend of the run's visualizer the metrics as ``{name}/{metric}`` and the picture,
    at step n: epochs or iterations done. The curve is part of the checkpoint; a resumed run goes on with what that
    checkpoint knew. The last epoch or iteration is evaluated too, as mmengine's validation does.

    The training does not notice: weights, optimiser, random numbers, modes of the layers and order of the data are bit
    for bit those of a run without this hook, and the time it takes is not counted as training. In a distributed run the
    images are split over the processes.

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
        evaluator: Config of a metric, or several; default ``ClassAgnosticCocoMetric`` of boxes and masks with the
            annotation file of the data set.
        num_pictures: Images in the picture; 0 draws none.
        name: Of the folder and the metrics; two of these hooks in one run need two names.

    Raises:
        ValueError: ``interval`` is less than 1; before training: there is no such backbone or no ``EMAHook``, FSDP has
            sharded the weights, or the training loop knows no epochs to count.
        ImportError: Before training: mmdet is not installed.
        FileNotFoundError: Before training: the annotation file is missing.
    """

    priority = 'LOW'  # after the EMA and the log of the iteration, before the checkpoint that keeps the curve

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
        evaluator: dict | list[dict] | None = None,
        num_pictures: int = 16,
        name: str = 'maskcut',
    ) -> None:
        if interval < 1:
            raise ValueError(f'MaskCutHook: interval must be at least 1, not {interval}')
        self.dataloader = dataloader
        self.interval = interval
        self.by_epoch = by_epoch
        self._unit = 'epoch' if by_epoch else 'iter'
        self.initial = initial
        self.backbone = backbone
        self.use_ema = use_ema
        self.data_preprocessor = data_preprocessor
        self.cut = dict(layer=layer, tau=tau, num_masks=num_masks, crf=crf)
        self.evaluator = evaluator
        self.num_pictures = num_pictures
        self.name = name

    def before_train(self, runner: Runner) -> None:
        """Build everything, so that a mistake shows now; evaluate the untrained model if asked to."""
        if 'mmdet' not in installed_libraries():
            raise ImportError('MaskCutHook needs mmdet, for COCO-format data sets and AP: pip install mmdet')
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError('MaskCutHook: this run counts iterations, not epochs: set by_epoch=False')
        with _aside():
            self._loader = self._build_loader(runner)
            self._metric = self._build_evaluator()
            self._detector = self._build_detector(runner)
        if self.initial and runner.iter == 0:
            self._evaluate(runner, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Evaluate if it is time, counted in epochs."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._evaluate(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Evaluate if it is time, counted in iterations."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._evaluate(runner, runner.iter + 1)

    def _build_loader(self, runner: Runner) -> torch.utils.data.DataLoader:
        cfg = dict(sampler=dict(type='DefaultSampler', shuffle=False)) | self.dataloader
        try:
            return runner.build_dataloader(cfg, seed=runner.seed)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'MaskCutHook: not found: {error.filename} (see dataloader.dataset)') from error

    def _build_evaluator(self) -> Evaluator:
        dataset = self._loader.dataset
        metric = self.evaluator or dict(
            type='ClassAgnosticCocoMetric', metric=['bbox', 'segm'], ann_file=dataset.ann_file
        )
        evaluator = Evaluator(metric)
        evaluator.dataset_meta = dataset.metainfo
        return evaluator

    def _build_detector(self, runner: Runner) -> MaskCutDetector:
        model = averaged_model(runner) if self.use_ema else runner.model
        backbone = find_module(model, self.backbone)
        preprocessor = self.data_preprocessor or normalisation_of(_unwrapped(runner.model).data_preprocessor)
        return MaskCutDetector(backbone, preprocessor, **self.cut)

    def _evaluate(self, runner: Runner, step: int) -> None:
        with _aside():
            start = time.perf_counter()
            metrics, pictures = self._run()
            seconds = time.perf_counter() - start
            text = '  '.join(f'{key}: {value:.4f}' for key, value in metrics.items())
            count = len(self._loader.dataset)
            runner.logger.info(f'{self.name} [{self._unit} {step}]  {text}  ({count} images in {seconds:.1f} s)')
            runner.visualizer.add_scalars({f'{self.name}/{key}': value for key, value in metrics.items()}, step=step)
            curve = self._extended_curve(runner, step, metrics)
            if is_main_process():
                self._draw(runner, step, curve, pictures)
        for hook in runner.hooks:
            if isinstance(hook, IterTimerHook):
                hook.before_train_epoch(runner)  # sets its clock

    def _run(self) -> tuple[dict[str, float], list[tuple[np.ndarray, np.ndarray]]]:
        """Metrics over all images, and the first images of this process with their masks."""
        pictures = []
        wanted = self.num_pictures if is_main_process() else 0
        for batch in self._loader:
            samples = self._detector.test_step(batch)
            self._metric.process(data_samples=samples, data_batch=batch)
            for sample in samples[: wanted - len(pictures)]:
                image = mmcv.imfrombytes(fileio.get(sample.img_path), channel_order='rgb')
                pictures.append((image, sample.pred_instances.masks.cpu().numpy()))
        return self._metric.evaluate(len(self._loader.dataset)), pictures

    def _extended_curve(self, runner: Runner, step: int, metrics: dict[str, float]) -> list[dict]:
        """All evaluations up to now, kept where every checkpoint takes them along."""
        key = f'{self.name}_curve'
        curve = [*runner.message_hub.get_info(key, []), dict(step=step, **metrics)]
        runner.message_hub.update_info(key, curve)
        return curve

    def _draw(self, runner: Runner, step: int, curve: list[dict], pictures: list) -> None:
        folder = Path(runner.work_dir, self.name)
        folder.mkdir(exist_ok=True)
        with atomic(folder / 'curve.json') as part:
            part.write_text(json.dumps(curve))
        with atomic(folder / 'curve.png') as part:
            self._curve_figure(curve).savefig(part, format='png')
        if pictures:
            grid = mask_grid(*zip(*pictures))
            with atomic(folder / f'{self._unit}_{step}.png') as part:
                Image.fromarray(grid).save(part, format='png')
            runner.visualizer.add_image(self.name, grid, step=step)

    def _curve_figure(self, curve: list[dict]):
        """The APs against the step; all metrics, if none is an AP."""
        from ..visualization.curves import curve_figure  # here: matplotlib takes a second to import

        keys = [key for key in curve[-1] if key.endswith('mAP')] or list(curve[-1])[1:]
        lines = {key: zip(*((record['step'], record[key]) for record in curve if key in record)) for key in keys}
        return curve_figure(lines, 'epoch' if self.by_epoch else 'iteration', 'AP')


def find_module(model: nn.Module, name: str) -> nn.Module:
    """A part of a model by its dotted name, through model wrappers (DDP) on the way.

    Raises:
        ValueError: There is none; or FSDP has cut its weights into pieces that no single process holds.
    """
    if isinstance(model, FullyShardedDataParallel):
        raise ValueError('MaskCutHook: no process has the whole backbone under FSDP: use DDP, or test checkpoints')
    module = _unwrapped(model)
    for part in name.split('.'):
        children = dict(module.named_children())
        if part not in children:
            owner = type(module).__name__
            raise ValueError(f'MaskCutHook: backbone={name!r}: {owner} has no {part!r}, it has {", ".join(children)}')
        module = _unwrapped(children[part])
    return module


def averaged_model(runner: Runner) -> nn.Module:
    """The model with the averaged weights of mmengine's ``EMAHook``.

    Raises:
        ValueError: The run has no such hook.
    """
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module
    raise ValueError('MaskCutHook: use_ema=True needs an EMAHook in custom_hooks')


def normalisation_of(preprocessor: nn.Module) -> dict:
    """Config of mmengine's ``ImgDataPreprocessor`` that normalises as a preprocessor of any of the libraries does."""
    while hasattr(preprocessor, 'data_preprocessor'):  # mmdet's student-teacher models wrap it
        preprocessor = preprocessor.data_preprocessor
    names = ('to_rgb', 'channel_conversion', '_channel_conversion')  # mmpretrain, mmseg, mmengine and mmdet
    cfg = dict(type='ImgDataPreprocessor', bgr_to_rgb=any(getattr(preprocessor, name, False) for name in names))
    if hasattr(preprocessor, 'mean'):
        cfg.update(mean=preprocessor.mean.flatten().tolist(), std=preprocessor.std.flatten().tolist())
    return cfg


def _unwrapped(module: nn.Module) -> nn.Module:
    return module.module if is_model_wrapper(module) else module


@contextmanager
def _aside() -> Iterator[None]:
    """In mmdet's scope, and with the random numbers that come next afterwards the same as before."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(DefaultScope.overwrite_default_scope('mmdet'))
        yield

"""Measure compression and sparsity of every layer while a model trains."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather, is_main_process
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ..datasets.image_list import spread_evenly
from ..errors import ArgumentError
from ..evaluation.sparse_rate import mean_and_std, sparse_rate
from ..models.features import all_layers
from ..models.observe import check_layers, evaluating, observe
from .measuring_hook import MeasuringHook, find_function, restart_clock, undisturbed

DRAWN = 6  # curves in a picture


@HOOKS.register_module()
class SparseRateHook(MeasuringHook):
    """Measure coding rate and share of non-zeros of every layer's tokens, in training and in a test.

    They are the two parts of CRATE's objective; :mod:`projects.crate.evaluation.sparse_rate` has the equations. The
    hook serves mmpretrain, mmdet and mmseg, with CRATE or mmpretrain's VisionTransformer. By default it takes images of
    the run's validation set (in a test, of the test set). Images are measured without padding: images of a batch that
    differ in size go through the backbone one size after the other.

    A measurement has for each layer the mean over the images and the standard deviation among them, 'compression',
    'compression_std', 'nonzero' and 'nonzero_std'. After each one the work folder has in ``{name}/``

    - ``curve.json``: all measurements up to now, ``[{"step": n, "compression": [layer 0, layer 1, ...], ...}, ...]``;
    - ``curve.png`` and ``.pdf``: both against the layer, at up to six steps from the first to the last; error bars are
      standard deviations;
    - ``curve.npz``: the numbers drawn.

    The visualizer gets scalars such as ``{name}/compression/layer_0``. In a distributed run the images are split over
    the processes. A test (``tools/test.py``) is measured once, before it begins; its files are named ``test`` in place
    of ``curve``, and its step is 0.

    >>> dict(type='SparseRateHook', interval=5, num_images=500)

    Args:
        dataloader: Config of a data loader, in the scope of the run; default is the loader of the validation or the
            test. Its samples are dicts with an image (3, H, W), not normalised, under 'inputs'.
        num_images: Largest number of images that are measured, evenly spread over the data set; None takes all.
        name: Name of the folder and prefix of the scalars.
        draw: Name in ``FUNCTIONS`` of a function ({name: measurement}) -> figure; None draws and writes no figure.
        **kwargs: Arguments of :class:`MeasuringHook`: ``interval``, ``by_epoch``, ``initial``, ``backbone``,
            ``use_ema`` (a test takes the weights that it tests), ``data_preprocessor``.

    Raises:
        ValueError: See :class:`MeasuringHook`; or ``num_images`` is less than 1. Before training: the run has no
            validation, or its samples are no images.
        TypeError: Before training: the backbone has no attention that can be read.
        FileNotFoundError: Before training: a file of ``dataloader`` is missing.
    """

    def __init__(
        self,
        dataloader: dict | None = None,
        num_images: int | None = 256,
        name: str = 'sparse_rate',
        draw: str | None = 'crate_draw_sparse_rate',
        **kwargs,
    ) -> None:
        super().__init__(name, draw, **kwargs)
        if num_images is not None and num_images < 1:
            raise ArgumentError(f'SparseRateHook: num_images must be at least 1, or None for all; not {num_images}')
        self.dataloader = dataloader
        self.num_images = num_images

    def build(self, runner: Runner) -> None:
        """Build the loader and the preprocessor of its images."""
        self._build(runner, runner.val_loop, self.use_ema)

    def before_test_epoch(self, runner: Runner) -> None:
        """Measure the weights that are tested; an ``EMAHook`` has put the averaged ones into the model by now."""
        with undisturbed():
            self._build(runner, runner.test_loop, averaged=False)
            metrics, _ = self.report(runner, 0, 'test')
            if self.draw is not None and is_main_process():
                self._save(Path(runner.work_dir, self.name, 'test'), [metrics], ['test'])
        restart_clock(runner)

    def _build(self, runner: Runner, loop: BaseLoop | None, averaged: bool) -> None:
        self._loader = self._build_loader(runner, loop)
        self._backbone, preprocessor = self.find_backbone(runner, averaged)
        self._preprocessor = MODELS.build(preprocessor).to(next(self._backbone.parameters()).device)
        check_layers(self._backbone, [0])

    def _build_loader(self, runner: Runner, loop: BaseLoop | None) -> DataLoader:
        """Build a loader as the config or the loop has, over the measured images alone."""
        if self.dataloader is None and loop is None:
            raise ArgumentError('SparseRateHook: this run has no validation with images to measure: set dataloader')
        loader = loop.dataloader if self.dataloader is None else self.build_loader(runner, self.dataloader)
        cfg = dict(collate_fn=loader.collate_fn, num_workers=loader.num_workers)
        cfg.update(dataset=self._part(loader.dataset), batch_size=loader.batch_sampler.batch_size)
        return self.build_loader(runner, cfg)

    def _part(self, dataset: Dataset) -> Dataset:
        """Return the images of a data set that are measured."""
        sample = dataset[0]
        inputs = sample.get('inputs') if isinstance(sample, dict) else None
        if not (isinstance(inputs, Tensor) and inputs.ndim == 3):
            raise ArgumentError(
                f"SparseRateHook: samples of {type(dataset).__name__} have no image (3, H, W) under 'inputs': set "
                'dataloader to a loader of such samples'
            )
        return Subset(dataset, spread_evenly(len(dataset), self.num_images))

    @torch.no_grad()
    def measure(self) -> tuple[dict[str, list[float]], None]:
        """Return mean and standard deviation over all images, layer by layer."""
        with evaluating(self._backbone):
            parts = [self._rates(images) for batch in self._loader for images in self._equal_images(batch['inputs'])]
        rates = {key: torch.cat([part[key] for part in parts], dim=1) for key in parts[0]}
        return mean_and_std({key: self._gathered(values) for key, values in rates.items()}), None

    def _gathered(self, own: Tensor) -> np.ndarray:
        """Gather what all processes measured, in the order of the images: (L, own images) -> (L, images)."""
        # each process has every n-th image, and some have one twice, so that all have as many
        values = torch.stack(all_gather(own), dim=2).flatten(1)
        return values[:, : len(self._loader.dataset)].cpu().numpy()

    def _equal_images(self, images: Tensor | list[Tensor]) -> Iterator[Tensor]:
        """Yield the images of a batch, normalised; neighbours of one size stay together."""
        for _, group in itertools.groupby(images, key=lambda image: image.shape):
            yield self._preprocessor(dict(inputs=list(group)))['inputs']

    def _rates(self, images: Tensor) -> dict[str, Tensor]:
        with observe(self._backbone, range(len(all_layers(self._backbone))), outputs=True) as seen:
            self._backbone(images)
        return sparse_rate(seen.values())

    def scalars(self, metrics: dict[str, list[float]]) -> dict[str, float]:
        """Return the scalars as 'compression/layer_0' and so on."""
        return {f'{key}/layer_{layer}': value for key, values in metrics.items() for layer, value in enumerate(values)}

    def summary(self, metrics: dict[str, list[float]]) -> str:
        """Return the means, layer by layer."""
        compression, nonzero = metrics['compression'], metrics['nonzero']
        texts = ' '.join(f'{value:.2f}' for value in compression), ' '.join(f'{value:.3f}' for value in nonzero)
        return 'compression: {}  nonzero: {}'.format(*texts)

    def save_pictures(self, runner: Runner, folder: Path, step: int, curve: list[dict], arrays: None) -> None:
        """Write curves against the layer at some of the steps."""
        chosen = np.unique(np.linspace(0, len(curve) - 1, DRAWN).round().astype(int))
        drawn = [curve[index] for index in chosen]
        self._save(folder / 'curve', drawn, [f'{self.unit} {record["step"]}' for record in drawn])

    def _save(self, stem: Path, measurements: list[dict], names: list[str]) -> None:
        keys = [key for key in measurements[0] if key != 'step']
        arrays = {key: np.array([record[key] for record in measurements]) for key in keys}
        figure = find_function(self.draw)(dict(zip(names, measurements)))
        find_function('crate_save_figure')(figure, stem, names=np.array(names), **arrays)

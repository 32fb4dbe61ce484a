"""Measure the transforms of a training, against the model's step."""

import math
import statistics
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner

from projects.crate.engine.launch import model_cfg, prepare_training, read_config
from projects.crate.engine.loops import samples_per_step
from projects.crate.engine.mistakes import building
from projects.crate.errors import UserError
from projects.crate.study.tables import plain_table

from .timing import interleaved_medians, now

MODEL = 'model'


def run(args: Namespace) -> tuple[dict, str]:
    cfg = read_config(args.config, args.cfg_options)
    prepare_training(cfg)
    found = measure(cfg, args.images, args.repeats)
    return found, report(found)


def measure(cfg: Config, number: int, repeats: int) -> dict:
    """Measure every transform of a training, and the model's step with all that a training does.

    ``number`` images from all over the data set are transformed. The median of ``repeats`` steps with one batch counts.

    Returns:
        ``transforms``: [(name, seconds per image)] in their order; ``model``: seconds per image; ``batch_size``,
        ``num_workers``: as the config has them.
    """
    if 'dataset' not in (cfg.get('train_dataloader') or {}) or 'model' not in cfg:
        raise UserError(f'{cfg.filename}: the config has no train_dataloader, or no model')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    loader_cfg = dict(cfg.train_dataloader, num_workers=0, persistent_workers=False, prefetch_factor=None)
    with building(cfg):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        loader = Runner.build_dataloader(dict(loader_cfg, dataset=dataset), seed=0)
        model = MODELS.build(model_cfg(cfg)).to(get_device()).train()
        optimiser = build_optim_wrapper(model, cfg.optim_wrapper)
    data = next(iter(loader))
    seconds = interleaved_medians({MODEL: partial(model.train_step, data, optimiser)}, repeats)[MODEL]
    batch_size = samples_per_step(loader)
    return dict(
        transforms=time_transforms(dataset, number),
        model=seconds / batch_size,
        batch_size=batch_size,
        num_workers=cfg.train_dataloader.get('num_workers', 0),
    )


def time_transforms(dataset: torch.utils.data.Dataset, number: int) -> list[tuple[str, float]]:
    """Return the mean seconds of each transform, over ``number`` images from all over the data set."""
    while not hasattr(dataset, 'pipeline'):  # repeated, for one
        if not hasattr(dataset, 'dataset'):
            raise UserError(f'{type(dataset).__name__} has no pipeline of transforms that could be measured')
        dataset = dataset.dataset
    seconds: list[tuple[Callable, list[float]]] = [(transform, []) for transform in dataset.pipeline.transforms]
    for position in range(number):
        results = dataset.get_data_info(position * len(dataset) // number)
        for transform, found in seconds:
            start = now()
            results = transform(results)
            found.append(now() - start)
            if results is None:  # an image that the transform drops
                break
    return [(type(transform).__name__, statistics.mean(found or [0.0])) for transform, found in seconds]


def report(found: Mapping) -> str:
    """Return the measurements as text, with the number of workers that the model needs."""
    loading = sum(seconds for _, seconds in found['transforms'])
    rows = [*found['transforms'], None, ('all transforms, one worker', loading)]
    rows.append((f'{MODEL}, a training step', found['model']))
    needed, there = math.ceil(loading / found['model']), found['num_workers']
    verdict = 'the model is the bottleneck' if needed <= max(there, 1) else 'the transforms are the bottleneck'
    table = plain_table(['', 'ms/image'], [row and (row[0], f'{1e3 * row[1]:.2f}') for row in rows])
    return (
        f'{table}\nA worker gives {1 / loading:.3g} images/s, the model takes {1 / found["model"]:.3g} on this device: '
        f'it needs {needed} workers. The config has {there}: {verdict}.'
    )

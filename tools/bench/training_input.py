"""What an image costs before the model sees it, against what the model takes for it."""

import math
import statistics
from collections.abc import Callable, Mapping
from functools import partial

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from rich import box
from rich.table import Table

from projects.crate.engine.launch import model_cfg
from projects.crate.engine.loops import samples_per_step
from projects.crate.engine.mistakes import building
from projects.crate.errors import UserError

from .text import plain_text
from .timing import interleaved_medians, now

MODEL = 'model'


def measure(cfg: Config, number: int, repeats: int) -> dict:
    """Seconds per image of every transform of the training, and of the model's step with all that a training does.

    Args:
        cfg: A training config whose data set is there, ready to be trained.
        number: Images that are transformed, from all over the data set.
        repeats: Steps of the model with one batch, of which the median counts.

    Returns:
        ``transforms``: [(name, seconds per image)] in their order; ``model``: seconds per image; ``batch_size``,
        ``num_workers``: as the config has them.

    Raises:
        UserError: The config has no training, or its data set or model cannot be built.
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
    """Mean seconds of each transform of a data set of OpenMMLab, over images from all over it; it keeps the clocks.

    Raises:
        UserError: It has no transforms.
    """
    while not hasattr(dataset, 'pipeline'):  # repeated, for one
        if not hasattr(dataset, 'dataset'):
            raise UserError(f'{type(dataset).__name__} has no pipeline of transforms that could be measured')
        dataset = dataset.dataset
    transforms = dataset.pipeline.transforms
    seconds: list[list[float]] = [[] for _ in transforms]

    def timed(transform: Callable, found: list[float]) -> Callable:
        def call(results: dict) -> dict | None:
            start = now()
            results = transform(results)
            found.append(now() - start)
            return results

        return call

    dataset.pipeline = Compose([timed(transform, found) for transform, found in zip(transforms, seconds)])
    for position in range(number):
        dataset[position * len(dataset) // number]
    return [(type(each).__name__, statistics.mean(found)) for each, found in zip(transforms, seconds)]


def report(found: Mapping) -> str:
    """The measurements as text, with the number of workers that the model needs.

    Args:
        found: What :func:`measure` returned.
    """
    table = Table(box=box.SIMPLE)
    table.add_column('')
    table.add_column('ms/image', justify='right')
    for name, seconds in found['transforms']:
        table.add_row(name, f'{1e3 * seconds:.2f}')
    loading = sum(seconds for _, seconds in found['transforms'])
    table.add_section()
    table.add_row('all transforms, one worker', f'{1e3 * loading:.2f}')
    table.add_row(f'{MODEL}, a training step', f'{1e3 * found["model"]:.2f}')
    needed, there = math.ceil(loading / found['model']), found['num_workers']
    verdict = 'the model is the bottleneck' if needed <= max(there, 1) else 'the transforms are the bottleneck'
    return '\n'.join(
        [
            plain_text(table),
            f'A worker gives {1 / loading:.3g} images/s, the model takes {1 / found["model"]:.3g} on this device: it '
            f'needs {needed} workers. The config has {there}: {verdict}.',
        ]
    )

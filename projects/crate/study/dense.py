"""Small segmentors and detectors, trained from several starts: their measurements and tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from .experiment import Row, decimals, find
from .measure import PRECISIONS
from .sweep import Measurements
from .tables import Table


class Task(NamedTuple):
    """A head that is trained on the features of a backbone.

    Attributes:
        config: Name of its configs in configs/, with ``{}`` for backbone and start.
        title: Name in tables.
        size: Size of the images, 'height x width'.
        measures: Name in tables -> (split that is evaluated, metric of it, factor that makes it a percentage).
    """

    config: str
    title: str
    size: str
    measures: Mapping[str, tuple[str, str, float]]


MIOU = {f'mIoU, {name}': (split, 'mIoU', 1.0) for name, split in {'validation': 'val', 'test': 'test'}.items()}
AP = {name: ('test', metric, 100.0) for name, metric in PRECISIONS.items() if 'AP75' not in name}
TASKS = {
    'linear': Task(
        'segmentation/linear_{}-1xb8-poly-400i_camvid-240x320px.py', 'linear probe on CamVid', '240 x 320', MIOU
    ),
    'upernet': Task(
        'segmentation/upernet_{}-1xb4-poly-400i_camvid-240x320px.py', 'UPerNet on CamVid', '240 x 320', MIOU
    ),
    'mask-rcnn': Task(
        'detection/mask-rcnn_{}-1xb2-step-30e_coco128-half-320x320px.py',
        'Mask R-CNN on half of coco128',
        '320 x 320',
        AP,
    ),
}


def measure(task: str, model: str, seed: int, cfg: Config, checkpoint: Path, out: Path) -> Iterator[Row]:
    """Yield the rows of a trained head; ``model`` names backbone and start."""
    found, one = {}, TASKS[task]
    for split in dict.fromkeys(split for split, *_ in one.measures.values()):
        tested = cfg.copy()
        tested.test_dataloader, tested.test_evaluator = cfg[f'{split}_dataloader'], cfg[f'{split}_evaluator']
        label = f'{task}, {model}, seed {seed}, {split}'
        found[split] = Measurements(out, 'dense').measure(label, tested, checkpoint)
    length = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs
    for name, (split, metric, factor) in one.measures.items():
        yield Row(model, seed, length, one.size, -1, f'{task}: {name}', factor * found[split][metric])


def dense_table(rows: Sequence[Row], task: str) -> Table:
    """Return mean, lowest and highest number over the seeds of each model."""
    names = TASKS[task].measures
    own = [row for row in rows if row.metric.startswith(f'{task}: ')]
    lines = []
    for model in dict.fromkeys(row.model for row in own):
        cells = []
        for name in names:
            values = [row.value for row in find(own, model=model, metric=f'{task}: {name}')]
            mean, low, high = (f'{f(values):{decimals(name)}}' for f in (np.mean, min, max))
            cells.append(f'{mean} ({low} to {high})')
        lines.append([model, len(values), *cells])
    return Table([TASKS[task].title, 'seeds', *names], lines)

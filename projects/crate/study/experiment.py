"""What an experiment measures of its trainings: one row per number."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..errors import UserError
from ..evaluation.best_head import RULES
from ..files import atomic, make_folder
from .material import Material, object_shares, whole_image
from .report import NUM_RESAMPLES, PRECISIONS, CoarseSegmentation, bootstrap_interval, coarse_segmentation
from .sweeps import Measurements, find_checkpoints, layer_sweep
from .trained import TrainedModel, read_trained

NUM_WORKERS = 2  # processes that load images
WHOLE_IMAGE = 'a mask of the whole image'  # a row that is of no model


@dataclass(frozen=True)
class Training:
    """One training of an experiment.

    Attributes:
        model: Name of the model.
        seed: Of the training.
        config: As it was trained.
        work_dir: Where its checkpoints are.
    """

    model: str
    seed: int
    config: Config
    work_dir: Path


@dataclass(frozen=True)
class Row:
    """A number, in percent.

    Attributes:
        model: Name of the model, or ``WHOLE_IMAGE``.
        seed: Of its training.
        iteration: Of the checkpoint; 0: random weights.
        size: Of the images, 'height x width'.
        layer: 0-based; -1 where a number is of the whole model.
        metric: 'top-1', 'mIoU mass', 'mIoU top', 'box AP50', ..., 'mIoU mass - CRATE' (a difference).
        value: The number.
        low: Lower end of its 95% interval over images; None if there is none.
        high: Upper end.
        order: Rule for masks of equal score (``ClassAgnosticCocoMetric``), of an AP; empty for other numbers.
    """

    model: str
    seed: int
    iteration: int
    size: str
    layer: int
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    order: str = ''


def measure_all(
    trainings: Sequence[Training], materials: Sequence[Material], out: Path, num_resamples: int = NUM_RESAMPLES
) -> Iterator[Row]:
    """Everything of every training; what an earlier call with the same ``out`` has measured is taken from there.

    The last checkpoint and random weights are measured at every size, with all layers where that takes one pass and
    MaskCut with all layers of the last checkpoint; the checkpoints between them at the last size, MaskCut with the last
    layer.

    Args:
        trainings: The first is the one that others are compared with.
        materials: The images, once per size.
        out: Folder for the measurements.
        num_resamples: Draws of the images behind the intervals of AP.

    Raises:
        UserError: A training has no checkpoints, none of its random weights, or they do not fit its config.
    """
    if (voc := materials[0].voc) is not None:
        yield Row(WHOLE_IMAGE, 0, 0, '', -1, 'mIoU', whole_image(object_shares(voc)))
    first: dict[str, dict[str, CoarseSegmentation]] = {}  # size -> what the first training has, by rule
    for training in trainings:
        checkpoints = find_checkpoints(training.work_dir)[1]
        last = max(checkpoints)
        if 0 not in checkpoints:
            raise UserError(f'no iter_0.pth in {training.work_dir} (default_hooks.checkpoint.initial=True writes it)')
        name = f'{training.model}, seed {training.seed}'
        metrics = Measurements(out, 'accuracy').measure(f'{name}, iteration {last}', training.config, checkpoints[last])
        yield Row(training.model, training.seed, last, '', -1, 'top-1', metrics['accuracy/top1'])
        for material in materials:
            size = '{} x {}'.format(*material.size)
            steps = checkpoints if material is materials[-1] else [0, last]
            for step in steps:
                model = read_trained(checkpoints[step], training.model)
                key = dict(model=training.model, seed=training.seed, iteration=step, size=size)
                label = f'{name}, iteration {step}, {size}'
                measured = _coarse(model, material, out, label)
                yield from _miou_rows(measured, key)
                if material.coco is not None:
                    cfg = material.coco.measurement(model, material.size, NUM_WORKERS)
                    cfg.test_evaluator.num_resamples = num_resamples
                    layers = None if step == last else [-1]
                    found = layer_sweep(cfg, str(model.checkpoint), out, layers, label)
                    yield from _precision_rows(*found, dict(key, order=cfg.test_evaluator.order))
            if training is trainings[0]:
                first[size] = measured
            else:
                yield from _difference_rows(measured, first[size], key, trainings[0].model)


def write_results(path: Path, rows: Sequence[Row], about: Mapping[str, object]) -> None:
    """Rows and what is to be known of them as JSON, a line per row."""
    columns = [field.name for field in fields(Row)]
    head = json.dumps(dict(about, columns=columns), indent=1).removesuffix('\n}')
    lines = ',\n'.join(json.dumps([_rounded(value) for value in astuple(row)]) for row in rows)
    make_folder(path.parent)
    with atomic(path) as part:
        part.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n')


def read_results(path: Path) -> tuple[list[Row], dict[str, object]]:
    """What :func:`write_results` wrote."""
    content = json.loads(Path(path).read_text())
    rows = [Row(**dict(zip(content['columns'], values))) for values in content.pop('rows')]
    content.pop('columns')
    return rows, content


def _rounded(value: object) -> object:
    """Numbers as exact as they need be in a file that people read."""
    return round(value, 4) if isinstance(value, float) else value


def _coarse(model: TrainedModel, material: Material, out: Path, label: str) -> dict[str, CoarseSegmentation]:
    if material.voc is None:
        return {}
    cfg = material.voc.measurement(model, material.size, NUM_WORKERS)
    return coarse_segmentation(cfg, model, out, RULES, label)


def _miou_rows(measured: Mapping[str, CoarseSegmentation], key: Mapping[str, object]) -> Iterator[Row]:
    for rule, coarse in measured.items():
        for layer, (value, images) in enumerate(zip(coarse.mean, coarse.images)):
            yield Row(**key, layer=layer, metric=f'mIoU {rule}', **_with_interval(float(value), images))


def _precision_rows(layers: np.ndarray, metrics: Mapping[str, np.ndarray], key: Mapping[str, object]) -> Iterator[Row]:
    for metric, name in PRECISIONS.items():
        found = 100 * np.stack([metrics[name], metrics[f'{name}_low'], metrics[f'{name}_high']], axis=1)
        for layer, (value, low, high) in zip(layers.tolist(), found.tolist()):
            yield Row(**key, layer=layer, metric=metric, value=value, low=low, high=high)


def _difference_rows(
    measured: Mapping[str, CoarseSegmentation],
    first: Mapping[str, CoarseSegmentation],
    key: Mapping[str, object],
    name: str,
) -> Iterator[Row]:
    """Last layer against last layer, on the same images."""
    for rule, coarse in measured.items():
        images = coarse.images[-1] - first[rule].images[-1]
        layer = len(coarse.mean) - 1
        yield Row(**key, layer=layer, metric=f'mIoU {rule} - {name}', **_with_interval(float(images.mean()), images))


def _with_interval(value: float, images: np.ndarray) -> dict[str, float | None]:
    low, high = bootstrap_interval(images) if len(images) > 1 else (None, None)
    return dict(value=value, low=low, high=high)

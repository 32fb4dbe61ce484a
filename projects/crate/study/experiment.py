"""An experiment: the measurements of its trainings, one row per number, and the tables and curves of the rows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config

from ..errors import UserError
from ..files import atomic, make_folder
from . import published
from .checkpoint_model import read_model
from .curves import LAYER, draw_curves, error_bars
from .images import StudyImages, object_shares, whole_image_miou
from .measure import NUM_RESAMPLES, PRECISIONS, RULES, CoarseSegmentation, bootstrap_interval, coarse_segmentation
from .page import write_page
from .sweep import Measurements, find_checkpoints, layer_sweep
from .tables import Table, with_interval

NUM_WORKERS = 2  # processes that load images
WHOLE_IMAGE = 'a mask of the whole image'  # a row without a model
MIOU = {f'mIoU {rule}': f'mIoU, {words}' for rule, words in RULES.items()}  # metric -> name in tables
WITH_INTERVAL = ('mIoU mass', 'box AP', 'mask AP')


@dataclass(frozen=True)
class Training:
    """One training of an experiment."""

    model: str  # name of the model
    seed: int
    config: Config
    work_dir: Path  # folder of the checkpoints


@dataclass(frozen=True)
class Row:
    """A number, in percent."""

    model: str  # name of the model, or WHOLE_IMAGE
    seed: int  # of the training
    iteration: int  # of the checkpoint; 0: random weights
    size: str  # of the images, 'height x width'
    layer: int  # 0-based; -1 for a number of the whole model
    metric: str  # 'top-1', 'mIoU mass', 'mIoU top', 'box AP50', ..., 'mIoU mass - CRATE' (a difference)
    value: float
    low: float | None = None  # lower end of its 95% interval over images
    high: float | None = None


def measure_all(
    trainings: Sequence[Training], image_sets: Sequence[StudyImages], out: Path, num_resamples: int = NUM_RESAMPLES
) -> Iterator[Row]:
    """Yield all rows of all trainings; results of an earlier call with the same ``out`` are taken from there.

    The last checkpoint and random weights are measured at every size. Coarse segmentation has all layers, in one pass;
    MaskCut has all layers of the last checkpoint, else the last layer. The other checkpoints are measured at the last
    size.

    Args:
        trainings: All trainings; the others are compared with the first.
        image_sets: The images, once per size.
        out: Folder for the measurements.
        num_resamples: Draws of the images behind the intervals of AP.

    Raises:
        UserError: A training has no checkpoints, or no checkpoint of its random weights, or they do not fit its config.
    """
    if (voc := image_sets[0].voc) is not None:
        yield Row(WHOLE_IMAGE, 0, 0, '', -1, 'mIoU', whole_image_miou(object_shares(voc)))
    first: dict[str, dict[str, CoarseSegmentation]] = {}  # size -> result of the first training, by rule
    for training in trainings:
        checkpoints = find_checkpoints(training.work_dir)[1]
        last = max(checkpoints)
        if 0 not in checkpoints:
            raise UserError(f'no iter_0.pth in {training.work_dir} (default_hooks.checkpoint.initial=True writes it)')
        name = f'{training.model}, seed {training.seed}'
        metrics = Measurements(out, 'accuracy').measure(f'{name}, iteration {last}', training.config, checkpoints[last])
        yield Row(training.model, training.seed, last, '', -1, 'top-1', metrics['accuracy/top1'])
        for images in image_sets:
            size = '{} x {}'.format(*images.size)
            for step in checkpoints if images is image_sets[-1] else [0, last]:
                model = read_model(checkpoints[step], training.model)
                key = dict(model=training.model, seed=training.seed, iteration=step, size=size)
                label, measured = f'{name}, iteration {step}, {size}', {}
                if images.voc is not None:
                    cfg = images.voc.measurement(model, images.size, NUM_WORKERS)
                    measured = coarse_segmentation(cfg, model, out, RULES, label)
                    for rule, coarse in measured.items():
                        for layer, values in enumerate(coarse.images):
                            yield _row(key, layer, f'mIoU {rule}', float(coarse.mean[layer]), values)
                if images.coco is not None:
                    cfg = images.coco.measurement(model, images.size, NUM_WORKERS)
                    cfg.test_evaluator.num_resamples = num_resamples
                    found = layer_sweep(cfg, str(model.checkpoint), out, None if step == last else [-1], label)
                    yield from _precision_rows(*found, key)
            if training is trainings[0]:
                first[size] = measured
            for rule, coarse in measured.items() if training is not trainings[0] else ():  # last layers, same images
                differences = coarse.images[-1] - first[size][rule].images[-1]
                metric = f'mIoU {rule} - {trainings[0].model}'
                yield _row(key, len(coarse.mean) - 1, metric, float(differences.mean()), differences)


def _row(key: Mapping[str, object], layer: int, metric: str, value: float, images: np.ndarray) -> Row:
    """Return the row of a mean over images, with its interval."""
    return Row(**key, layer=layer, metric=metric, value=value, **dict(zip(('low', 'high'), bootstrap_interval(images))))


def _precision_rows(layers: np.ndarray, metrics: Mapping[str, np.ndarray], key: Mapping[str, object]) -> Iterator[Row]:
    for metric, name in PRECISIONS.items():
        found = 100 * np.stack([metrics[name], metrics[f'{name}_low'], metrics[f'{name}_high']], axis=1)
        for layer, (value, low, high) in zip(layers.tolist(), found.tolist()):
            yield Row(**key, layer=layer, metric=metric, value=value, low=low, high=high)


def write_results(path: Path, rows: Sequence[Row], about: Mapping[str, object]) -> None:
    """Write rows and a description of the experiment as JSON, a line per row; four decimals."""
    columns = [field.name for field in fields(Row)]
    head = json.dumps(dict(about, columns=columns), indent=1).removesuffix('\n}')
    values = ([round(value, 4) if isinstance(value, float) else value for value in astuple(row)] for row in rows)
    lines = ',\n'.join(map(json.dumps, values))
    make_folder(path.parent)
    with atomic(path) as part:
        part.write_text(f'{head},\n "rows": [\n{lines}\n]}}\n')


def read_results(path: Path) -> tuple[list[Row], dict[str, object]]:
    """Return rows and description that :func:`write_results` wrote."""
    content = json.loads(Path(path).read_text())
    columns = content.pop('columns')
    return [Row(**dict(zip(columns, values))) for values in content.pop('rows')], content


def write_pages(rows: Sequence[Row], figures: Mapping[str, Figure], out: Path) -> list[Path]:
    """Write ``tables.md``, the same page with all figures as ``index.html``, and the figures as PNG; return the paths.

    ``figures`` are by the name of their file; the curves are added.
    """
    size = next(row.size for row in reversed(rows) if row.size)  # the size that was measured along the training
    figures = {'curves': curves(rows, size), **figures}
    made, pages = tables(rows), [out / 'tables.md', out / 'index.html']
    for page in pages:
        write_page(page, 'experiment', tables=made, figures={} if page.suffix == '.md' else figures)
    for name, figure in figures.items():
        with atomic(out / f'{name}.png') as part:
            figure.savefig(part, format='png', dpi=120)
    return [*pages, *(out / f'{name}.png' for name in figures)]


def tables(rows: Sequence[Row]) -> dict[str, Table]:
    """Return every table of the experiment by its name."""
    sizes = list(dict.fromkeys(row.size for row in rows if row.size))
    made = {}
    if several := [model for model, seed, _ in trainings_of(rows) if seed == 1]:
        made = {f'several seeds, {size}': seed_table(rows, size, several) for size in sizes}
    kinds = {'last layer': last_layer_table, 'every layer': layer_table, 'differences': difference_table}
    made |= {f'{name}, {size}': table(rows, size) for name, table in kinds.items() for size in sizes}
    return {**made, 'published': published_table()}


def last_layer_table(rows: Sequence[Row], size: str) -> Table:
    """Return accuracy, mIoU and AP of each training and of random weights, all of the last layer."""
    names = [*MIOU, *PRECISIONS]
    lines = []
    for model, seed, steps in trainings_of(rows):
        top1 = find(rows, model=model, seed=seed, metric='top-1')[0].value
        for step, label in ((0, 'random weights'), (max(steps), f'{top1:.1f}%')):
            key = dict(model=model, seed=seed, iteration=step, size=size)
            found = {name: find(rows, **key, metric=name) for name in names}
            cells = (cell(each[-1], name in WITH_INTERVAL) if each else '' for name, each in found.items())
            lines.append([model, seed, label, *cells])
    for row in find(rows, model=WHOLE_IMAGE):
        lines.append([WHOLE_IMAGE, '', '', cell(row), *[''] * (len(names) - 1)])
    return Table(['model', 'seed', 'top-1', *MIOU.values(), *PRECISIONS], lines)


def seed_table(rows: Sequence[Row], size: str, models: Iterable[str]) -> Table:
    """Return mean, lowest and highest number over the trainings of a model; of mIoU and AP, the last layer.

    A cell is empty where a training lacks the number.
    """
    lines = []
    for model in models:
        seeds = [(seed, max(steps)) for name, seed, steps in trainings_of(rows) if name == model]
        cells = []
        for metric in ('top-1', *MIOU, 'box AP', 'mask AP'):
            where = dict(model=model, metric=metric, size='' if metric == 'top-1' else size)
            found = [find(rows, **where, seed=seed, iteration=last) for seed, last in seeds]
            values = [each[-1].value for each in found] if all(found) else []
            style = decimals(metric)
            low, high = (f'{end(values):{style}}' for end in (min, max)) if values else ('', '')
            cells.append(f'{np.mean(values):{style}} ({low} to {high})' if values else '')
        lines.append([model, len(seeds), *cells])
    return Table(['model', 'trainings', 'top-1', *MIOU.values(), 'box AP', 'mask AP'], lines)


def layer_table(rows: Sequence[Row], size: str) -> Table:
    """Return the mIoU and mask AP of every layer of each training."""
    lines = []
    for model, seed, steps in trainings_of(rows):
        for metric in ('mIoU mass', 'mask AP'):
            found = find(rows, model=model, seed=seed, iteration=max(steps), size=size, metric=metric)
            if found:
                lines.append([model, seed, MIOU.get(metric, metric), *(cell(row, interval=False) for row in found)])
    layers = max(len(line) for line in lines) - 3
    return Table(['model', 'seed', '', *(f'layer {layer}' for layer in range(layers))], lines)


def difference_table(rows: Sequence[Row], size: str) -> Table:
    """Return every training against the first, last layers on the same images."""
    lines = []
    for metric, rule in MIOU.items():
        found = [row for row in rows if row.size == size and row.metric.startswith(f'{metric} - ')]
        lines += [[f'{row.model}, seed {row.seed}', row.metric[len(metric) + 3 :], rule, cell(row)] for row in found]
    return Table(['', 'minus', 'rule', 'difference'], lines)


def along_training_table(rows: Sequence[Row], size: str, models: Iterable[str]) -> Table:
    """Return the mIoU of the last layer, rule 'mass', of every checkpoint of some models."""
    lines = []
    for model, seed, steps in trainings_of(rows):
        if model in models:
            key = dict(model=model, seed=seed, size=size, metric='mIoU mass')
            found = (find(rows, **key, iteration=step)[-1] for step in steps)
            lines.append([model, seed, *(cell(row, interval=False) for row in found)])
    return Table(['iteration', 'seed', *steps], lines)


def summary_table(rows: Sequence[Row], size: str) -> Table:
    """Return accuracy, and the mIoU of the last layer before and after training."""
    lines = []
    for model, seed, steps in trainings_of(rows):
        key = dict(model=model, seed=seed)
        states = [(metric, step) for metric in MIOU for step in (0, max(steps))]
        found = [find(rows, **key, size=size, metric=metric, iteration=step) for metric, step in states]
        top1 = find(rows, **key, metric='top-1')[0].value
        lines.append([model, seed, f'{top1:.1f}%', *(cell(each[-1], interval=False) for each in found)])
    columns = [f'{words}: before' if step == 0 else 'after' for words in RULES.values() for step in (0, 1)]
    return Table(['model', 'seed', 'top-1', *columns], lines)


def published_table() -> Table:
    """Return the published numbers of these models."""
    mious, table_1, table_2 = published.FIGURE_4B, published.TABLE_1, published.TABLE_2
    names = published.ABLATIONS
    lines = [[f'{names[key]}, Table 1', mious[key], *table_1[key]] for key in names if key in table_1]
    lines += [[f'{name}, Table 2', table_2[key][-1], *table_2[key][:3], '', '', ''] for key, name in names.items()]
    return Table(['model', 'mIoU', *PRECISIONS], lines)


def curves(rows: Sequence[Row], size: str) -> Figure:
    """Draw mIoU and mask AP along the training (last layer) and along the layers (last checkpoint).

    Further seeds of a model are dashed lines of its colour. A training without a number, or without one at some
    iteration, has an empty curve, so that the others keep their colours.
    """
    names = {(model, seed): model if seed == 0 else f'{model}, seed {seed}' for model, seed, _ in trainings_of(rows)}
    dashed = [name for (_, seed), name in names.items() if seed]
    figure = Figure(figsize=(10, 6.5), layout='constrained')
    for column, (metric, label) in enumerate((('mIoU mass', 'mIoU (%)'), ('mask AP', 'mask AP (%)')), 1):
        along_training, along_layers = {}, {}
        for model, seed, steps in trainings_of(rows):
            key = dict(model=model, seed=seed, size=size, metric=metric)
            layers = find(rows, **key, iteration=max(steps))
            found = [find(rows, **key, iteration=step) for step in steps]
            points = [each[-1] for each in found] if all(found) else []
            along_training[names[model, seed]] = ([row.iteration for row in points], *_with_errors(points))
            along_layers[names[model, seed]] = ([row.layer for row in layers], *_with_errors(layers))
        for place, drawn, xlabel, where in (
            (column, along_training, 'iteration', 'last layer'),
            (column + 2, along_layers, LAYER, 'after training'),
        ):
            if any(y for _, y, *_ in drawn.values()):
                draw_curves(figure.add_subplot(2, 2, place), drawn, xlabel, f'{label}, {where}', dashed)
    if figure.axes:  # one legend for all, where it hides nothing
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4, fontsize=8)
    return figure


def _with_errors(rows: Sequence[Row]) -> tuple[list[float], ...]:
    """Return values, and the lengths of their error bars."""
    values = [row.value for row in rows]
    if any(row.low is None for row in rows):
        return (values,)
    return values, error_bars(values, [row.low for row in rows], [row.high for row in rows])


def trainings_of(rows: Iterable[Row]) -> list[tuple[str, int, list[int]]]:
    """Return (model, seed, iterations that were measured) of each training, in their order."""
    found: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        if row.model != WHOLE_IMAGE:
            found.setdefault((row.model, row.seed), set()).add(row.iteration)
    return [(*key, sorted(steps)) for key, steps in found.items()]


def find(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Return the rows with these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def decimals(metric: str) -> str:
    """Return the format of a number: AP has two decimals, the others one."""
    return '.2f' if 'AP' in metric else '.1f'


def cell(row: Row, interval: bool = True) -> str:
    """Return '12.3 [10.1, 14.9]'."""
    ends = [row.low, row.high] if interval and row.low is not None else []
    return with_interval([row.value, *ends], decimals(row.metric))

"""An experiment: the measurements of its trainings, one row per number, and the tables and curves of the rows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config

from ..datasets.label_maps import read_label_map
from ..errors import UserError
from ..evaluation import CorLoc, Saliency
from ..files import atomic, make_folder
from . import published
from .checkpoint_model import CheckpointModel, read_model
from .curves import LAYER, draw_curves, error_bars
from .images import LABELLED, ImageSet, StudyImages, object_shares, salient_images, whole_image_miou
from .measure import NUM_RESAMPLES, PRECISIONS, RULES, bootstrap_interval, coarse_segmentation
from .neighbours import knn_accuracy
from .page import write_page
from .significance import difference, holm
from .sweep import Measurements, find_checkpoints, layer_sweep
from .tables import Table, with_interval

NUM_WORKERS = 2  # processes that load images
WHOLE_IMAGE = 'a mask of the whole image'  # a row without a model
MIOU = {f'mIoU {rule}': f'mIoU, {words}' for rule, words in RULES.items()}  # metric -> name in tables
WITH_INTERVAL = ('mIoU mass', 'box AP', 'mask AP')
# one object per image: name in tables -> name in Saliency and CorLoc
OBJECTS = {'saliency IoU': 'saliency/IoU', 'saliency max F': 'saliency/max_F', 'CorLoc': 'discovery/CorLoc'}
UNTRAINED = ', random weights'  # behind the name of a model
# pairs of the pre-registered tests (docs/experiments/evidence.md): the first is expected to be above the second
PAIRS = (
    ('CRATE', 'ViT'),
    ('CRATE', 'ViT-narrow'),
    ('CRATE-wide', 'ViT'),
    ('CRATE', 'ViT-registers'),
    ('CRATE', 'CRATE-MLP'),
    ('CRATE', 'CRATE-MHSA'),
    ('CRATE', f'CRATE{UNTRAINED}'),
    ('ViT', f'ViT{UNTRAINED}'),
)


@dataclass(frozen=True)
class Row:
    """A number, in percent."""

    model: str  # name of the model, or WHOLE_IMAGE
    seed: int  # of the training
    iteration: int  # of the checkpoint; 0: random weights
    size: str  # of the images, 'height x width'
    layer: int  # 0-based; -1 for a number of the whole model
    metric: str  # 'top-1', 'k-NN', 'mIoU mass', 'mIoU top', 'box AP50', ..., or a key of OBJECTS
    value: float
    low: float | None = None  # lower end of its 95% interval over images
    high: float | None = None
    images: tuple[float, ...] = ()  # of an mIoU of the last layer, before and after training: the value of each image


def measure_baselines(images: StudyImages) -> Iterator[Row]:
    """Yield the rows of a mask of the whole image."""
    if (voc := images.voc) is not None:
        yield Row(WHOLE_IMAGE, 0, 0, '', -1, 'mIoU', whole_image_miou(object_shares(voc)))
        found = whole_image_objects(salient_images(voc))
        for metric, name in OBJECTS.items():
            yield Row(WHOLE_IMAGE, 0, 0, '', -1, metric, found[name])


def whole_image_objects(salient: ImageSet) -> dict[str, float]:
    """Return saliency and CorLoc of a mask of the whole image."""
    metrics = [Saliency(**LABELLED), CorLoc(from_map=True, **LABELLED)]
    for i in salient.chosen:
        labels = torch.from_numpy(read_label_map(str(salient.targets[i]), str(salient.images[i])))
        height, width = labels.shape
        whole = dict(masks=torch.ones(1, height, width), bboxes=torch.tensor([[0, 0, width, height]]))
        sample = dict(gt_sem_seg=dict(data=labels[None]), pred_instances=dict(whole, scores=torch.ones(1)))
        for metric in metrics:
            metric.process({}, [sample])
    return {name: value for metric in metrics for name, value in metric.evaluate(len(metric.results)).items()}


def measure_training(
    model: str,
    seed: int,
    config: Config,
    work_dir: Path,
    image_sets: Sequence[StudyImages],
    out: Path,
    num_resamples: int = NUM_RESAMPLES,
) -> Iterator[Row]:
    """Yield all rows of a training; evaluations of an earlier call with the same ``out`` are taken from there.

    The last checkpoint and random weights are measured at every size. Coarse segmentation has all layers, in one pass;
    MaskCut has all layers of the last checkpoint, else the last layer; one object per image has the last layer. The
    other checkpoints are measured at the last size, without one object per image.

    ``image_sets`` are the images, once per size; ``num_resamples`` the draws of the images behind the intervals of AP.
    """
    checkpoints = find_checkpoints(work_dir)[1]
    last = max(checkpoints)
    if 0 not in checkpoints:
        raise UserError(f'no iter_0.pth in {work_dir} (default_hooks.checkpoint.initial=True writes it)')
    name, own = f'{model}, seed {seed}', dict(model=model, seed=seed)
    metrics = Measurements(out, 'accuracy').measure(f'{name}, iteration {last}', config, checkpoints[last])
    yield Row(**own, iteration=last, size='', layer=-1, metric='top-1', value=metrics['accuracy/top1'])
    for step in (0, last):
        value = knn_accuracy(config, checkpoints[step])
        yield Row(**own, iteration=step, size='', layer=-1, metric='k-NN', value=value)
    for images in image_sets:
        size = '{} x {}'.format(*images.size)
        for step in checkpoints if images is image_sets[-1] else [0, last]:
            checkpoint = read_model(checkpoints[step], model)
            key, is_end = dict(own, iteration=step, size=size), step in (0, last)
            label = f'{name}, iteration {step}, {size}'
            if images.voc is not None:
                yield from _attention_rows(images.voc, checkpoint, images.size, out, label, key, is_end)
            if images.coco is not None:
                cfg = images.coco.measurement(checkpoint, images.size, NUM_WORKERS)
                cfg.test_evaluator.num_resamples = num_resamples
                found = layer_sweep(cfg, checkpoints[step], out, None if step == last else [-1], label)
                yield from _precision_rows(*found, key)


def _attention_rows(
    voc: ImageSet, model: CheckpointModel, size: Sequence[int], out: Path, label: str, key: Mapping, is_end: bool
) -> Iterator[Row]:
    """Yield the mIoU of every layer, and at both ends of a training one object per image, of the last layer."""
    cfg = voc.measurement(model, size, NUM_WORKERS)
    for rule, coarse in coarse_segmentation(cfg, model, out, RULES, label).items():
        for layer, values in enumerate(coarse.images):
            ends = dict(zip(('low', 'high'), bootstrap_interval(values)))
            is_kept = is_end and layer == len(coarse.mean) - 1
            kept = tuple(round(value, 1) for value in values.tolist()) if is_kept else ()
            value = float(coarse.mean[layer])
            yield Row(**key, layer=layer, metric=f'mIoU {rule}', value=value, **ends, images=kept)
    if is_end:
        cfg = salient_images(voc).measurement(model, size, NUM_WORKERS)
        found = Measurements(out, 'objects').measure(label, cfg, str(model.checkpoint))
        for metric, name in OBJECTS.items():
            yield Row(**key, layer=layer, metric=metric, value=found[name])


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
    rows = [dict(zip(columns, values)) for values in content.pop('rows')]
    return [Row(**dict(row, images=tuple(row.get('images', ())))) for row in rows], content


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
    kinds = {'last layer': last_layer_table, 'every layer': layer_table}
    if find(rows, metric='k-NN'):
        kinds |= {'one object': object_table, 'comparisons': comparison_table}
    else:
        kinds |= {'differences': difference_table}
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
    for row in find(rows, model=WHOLE_IMAGE, metric='mIoU'):
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
    """Return every training against the first, last layers on the same images, of results before comparison_table."""
    lines = []
    for metric, rule in MIOU.items():
        found = [row for row in rows if row.size == size and row.metric.startswith(f'{metric} - ')]
        lines += [[f'{row.model}, seed {row.seed}', row.metric[len(metric) + 3 :], rule, cell(row)] for row in found]
    return Table(['', 'minus', 'rule', 'difference'], lines)


def object_table(rows: Sequence[Row], size: str) -> Table:
    """Return k-NN accuracy, and saliency and CorLoc of one object per image, of each training and of random weights."""
    lines = []
    for model, seed, steps in trainings_of(rows):
        for step, label in ((0, 'random weights'), (max(steps), 'trained')):
            key = dict(model=model, seed=seed, iteration=step)
            found = [find(rows, **key, metric='k-NN'), *(find(rows, **key, size=size, metric=name) for name in OBJECTS)]
            lines.append([model, seed, label, *(cell(each[0]) if each else '' for each in found)])
    whole = [find(rows, model=WHOLE_IMAGE, metric=name) for name in OBJECTS]
    lines.append([WHOLE_IMAGE, '', '', '', *(cell(each[0]) if each else '' for each in whole)])
    return Table(['model', 'seed', '', 'k-NN', *OBJECTS], lines)


def comparison_table(rows: Sequence[Row], size: str) -> Table:
    """Return the differences of ``PAIRS`` in the last layer over images and trainings, with Holm's correction.

    The family of tests is all of the table. A pair is left out as long as one of its models has no training.
    """
    lines, probabilities = [], []
    for metric, words in MIOU.items():
        values = {name: _image_values(rows, name, size, metric) for name in {*sum(PAIRS, ())}}
        for pair in PAIRS:
            first, second = (values[name] for name in pair)
            if len(first) and len(second):
                value, low, high, p = difference(first, second)
                probabilities.append(p)
                counts = f'{len(first)}, {len(second)}'
                lines.append([*pair, counts, words, with_interval([value, low, high], decimals(metric))])
    corrected = (f'{p:.2g}' for p in holm(np.array(probabilities)))
    lines = [[*line, p] for line, p in zip(lines, corrected)]
    return Table(['', 'minus', 'trainings', 'rule', 'difference', 'p (Holm)'], lines)


def _image_values(rows: Sequence[Row], name: str, size: str, metric: str) -> np.ndarray:
    """Return values (S, n) of all images in the last layer of S trainings of a model, or of their random weights."""
    model = name.removesuffix(UNTRAINED)
    found = [row for row in find(rows, model=model, size=size, metric=metric) if row.images]
    return np.array([row.images for row in found if (row.iteration == 0) == (name != model)])


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

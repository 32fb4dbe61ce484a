"""The tables and curves of an experiment, for a page in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..files import atomic, make_folder
from .attention_figure import attention_figure
from .curves import draw_curves, error_bars
from .experiment import WHOLE_IMAGE, Row
from .masks import painted
from .observer import Observer
from .report import PRECISIONS, cut_masks
from .report_page import RULES, bracketed, comparison_figure

# arXiv 2308.16271, S/8, supervised on ImageNet-21k: mIoU on VOC 2012 val, AP on COCO val2017
PUBLISHED = {
    'CRATE, Table 1': (23.9, 2.9, 1.0, 1.1, 1.8, 0.7, 0.8),
    'ViT, Table 1': (14.1, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0),
    'CRATE, Table 2': (23.9, 2.1, 0.7, 0.8, '', '', ''),
    'CRATE-MLP, Table 2': (22.0, 0.2, 0.2, 0.2, '', '', ''),
    'CRATE-MHSA, Table 2': (18.4, 0.1, 0.1, 0.0, '', '', ''),
    'ViT, Table 2': (14.1, 0.1, 0.1, 0.0, '', '', ''),
}
MIOU = {f'mIoU {rule}': f'mIoU, {words}' for rule, words in RULES.items()}  # metric -> what tables call it
WITH_INTERVAL = ('mIoU mass', 'box AP', 'mask AP')
STAR = '\\*'  # in Markdown: an AP by the order of the image ids
LEGEND = (
    'All in percent. In brackets: 95% intervals over images (bootstrap); what another training of the same model would '
    'give is not in them. AP: the mean over the orders of the images, since all masks of MaskCut have the same score.'
)


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """Every table of the experiment in Markdown, by its name.

    Args:
        rows: What was measured.
    """
    sizes = list(dict.fromkeys(row.size for row in rows if row.size))
    made = {}
    if several := [model for model, seed, _ in trainings(rows) if seed == 1]:
        made = {f'several seeds, {size}': seed_table(rows, size, several) for size in sizes}
    made |= {f'last layer, {size}': last_layer_table(rows, size) for size in sizes}
    made |= {f'every layer, {size}': layer_table(rows, size) for size in sizes}
    made |= {f'differences, {size}': difference_table(rows, size) for size in sizes}
    return {**made, 'published': published_table()}


def last_layer_table(rows: Sequence[Row], size: str) -> str:
    """Accuracy, mIoU and AP of each training and of random weights, all of the last layer."""
    names = [*MIOU, *PRECISIONS]
    lines = []
    for model, seed, steps in trainings(rows):
        top1 = find(rows, model=model, seed=seed, metric='top-1')[0].value
        for step, label in ((0, 'random weights'), (max(steps), f'{top1:.1f}%')):
            cells = []
            for name in names:
                found = find(rows, model=model, seed=seed, iteration=step, size=size, metric=name)
                cells.append(cell(found[-1], name in WITH_INTERVAL) if found else '')
            lines.append([model, seed, label, *cells])
    for row in find(rows, model=WHOLE_IMAGE):
        lines.append([WHOLE_IMAGE, '', '', cell(row), *[''] * (len(names) - 1)])
    return markdown(['model', 'seed', 'top-1', *MIOU.values(), *PRECISIONS], lines)


def seed_table(rows: Sequence[Row], size: str, models: Iterable[str]) -> str:
    """The mean over the trainings of a model, lowest and highest, after training; of mIoU and AP, the last layer.

    A cell is empty where an AP is by the order of the image ids.
    """
    lines = []
    for model in models:
        seeds = [(seed, max(steps)) for name, seed, steps in trainings(rows) if name == model]
        cells = []
        for metric in ('top-1', *MIOU, 'box AP', 'mask AP'):
            where = dict(model=model, metric=metric, size='' if metric == 'top-1' else size)
            found = [find(rows, **where, seed=seed, iteration=last) for seed, last in seeds]
            values = [each[-1].value for each in found if each]
            if any(each[-1].order == 'as given' for each in found if each):
                values = []
            style = '.2f' if 'AP' in metric else '.1f'
            low, high = (f'{end(values):{style}}' for end in (min, max)) if values else ('', '')
            cells.append(f'{np.mean(values):{style}} ({low} to {high})' if values else '')
        lines.append([model, len(seeds), *cells])
    return markdown(['model', 'trainings', 'top-1', *MIOU.values(), 'box AP', 'mask AP'], lines)


def layer_table(rows: Sequence[Row], size: str) -> str:
    """The mIoU and mask AP of every layer of each training."""
    lines = []
    for model, seed, steps in trainings(rows):
        for metric in ('mIoU mass', 'mask AP'):
            found = find(rows, model=model, seed=seed, iteration=max(steps), size=size, metric=metric)
            if found:
                lines.append([model, seed, MIOU.get(metric, metric), *(cell(row, interval=False) for row in found)])
    layers = max(len(line) for line in lines) - 3
    return markdown(['model', 'seed', '', *(f'layer {layer}' for layer in range(layers))], lines)


def difference_table(rows: Sequence[Row], size: str) -> str:
    """Every training against the first, last layers on the same images."""
    lines = []
    for metric, rule in MIOU.items():
        found = [row for row in rows if row.size == size and row.metric.startswith(f'{metric} - ')]
        lines += [[f'{row.model}, seed {row.seed}', row.metric[len(metric) + 3 :], rule, cell(row)] for row in found]
    return markdown(['', 'minus', 'rule', 'difference'], lines)


def published_table() -> str:
    """What the paper has of these models."""
    return markdown(['model', 'mIoU', *PRECISIONS], [[name, *cells] for name, cells in PUBLISHED.items()])


def curves(rows: Sequence[Row], size: str) -> Figure:
    """The mIoU and mask AP along the training (last layer) and along the layers (last checkpoint).

    Further seeds of a model are dashed lines of its colour. APs by the order of the image ids are not drawn.
    """
    names = {(model, seed): model if seed == 0 else f'{model}, seed {seed}' for model, seed, _ in trainings(rows)}
    dashed = [name for (_, seed), name in names.items() if seed]
    figure = Figure(figsize=(10, 6.5), layout='constrained')
    for column, (metric, label) in enumerate((('mIoU mass', 'mIoU (%)'), ('mask AP', 'mask AP (%)'))):
        along_training, along_layers = {}, {}
        for model, seed, steps in trainings(rows):
            key = dict(model=model, seed=seed, size=size, metric=metric)
            if not (layers := find(rows, **key, iteration=max(steps))):
                continue
            name = names[model, seed]
            points = [find(rows, **key, iteration=step)[-1] for step in steps]
            along_training[name] = (steps, *with_errors(points))
            along_layers[name] = ([row.layer for row in layers], *with_errors(layers))
        if has_values(along_training):
            axis = figure.add_subplot(2, 2, 1 + column)
            draw_curves(axis, along_training, 'iteration', f'{label}, last layer', dashed)
        if has_values(along_layers):
            axis = figure.add_subplot(2, 2, 3 + column)
            draw_curves(axis, along_layers, 'layer (0-based)', f'{label}, after training', dashed)
    if figure.axes:  # one legend for all, where it hides nothing
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4, fontsize=8)
    return figure


def pictures(observers: Mapping[str, Observer], images: Sequence[np.ndarray]) -> dict[str, Figure]:
    """Attention of every head, and the masks of MaskCut, in the last layer of each model.

    Args:
        observers: Name -> trained backbone.
        images: (H, W, 3) uint8 RGB each.

    Returns:
        'attention' and 'masks'.
    """
    attention, masks = {}, {}
    for name, observer in observers.items():
        last = observer.num_layers - 1
        attention[name] = [observer.attention(image, [last])[last] for image in images]
        features = [observer.features(image, [last])[last] for image in images]
        found = [cut_masks(grid, observer.patch_size, image.shape[:2]) for grid, image in zip(features, images)]
        masks[name] = [painted(image, each) for image, each in zip(images, found)], (1, 1)
    sizes = {observer.patch_size for observer in observers.values()}
    patch_size = sizes.pop() if len(sizes) == 1 else None
    return dict(
        attention=attention_figure(images, attention, patch_size=patch_size), masks=comparison_figure(images, masks)
    )


def write_up(rows: Sequence[Row], figures: Mapping[str, Figure], out: Path) -> list[Path]:
    """Write ``tables.md`` and figures as PNG; returns the paths.

    Args:
        rows: What was measured.
        figures: By the name of their file; curves are added.
        out: Folder.
    """
    text = '\n\n'.join([LEGEND, *(f'### {name}\n\n{table}' for name, table in tables(rows).items())])
    size = next(row.size for row in reversed(rows) if row.size)  # the one that was measured along the training
    drawn = {out / f'{name}.png': figure for name, figure in {'curves': curves(rows, size), **figures}.items()}
    make_folder(out)
    with atomic(out / 'tables.md') as part:
        part.write_text(f'{text}\n')
    for path, figure in drawn.items():
        with atomic(path) as part:
            figure.savefig(part, format='png', dpi=120)
    return [out / 'tables.md', *drawn]


def trainings(rows: Iterable[Row]) -> list[tuple[str, int, list[int]]]:
    """(model, seed, iterations that were measured) of each training, in their order."""
    found: dict[tuple[str, int], set[int]] = {}
    for row in rows:
        if row.model != WHOLE_IMAGE:
            found.setdefault((row.model, row.seed), set()).add(row.iteration)
    return [(*key, sorted(steps)) for key, steps in found.items()]


def find(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def with_errors(rows: Sequence[Row]) -> tuple[list[float], ...]:
    """Values, and the lengths of their error bars to both sides; no values if one is by the order of the image ids."""
    if any(row.order == 'as given' for row in rows):
        return ([np.nan] * len(rows),)  # a curve without points keeps the colours of the others
    values = [row.value for row in rows]
    if any(row.low is None for row in rows):
        return (values,)
    return values, error_bars(values, [row.low for row in rows], [row.high for row in rows])


def has_values(curves: Mapping[str, Sequence[Sequence[float]]]) -> bool:
    """Return True if there is a point to draw."""
    return any(np.isfinite(y).any() for _, y, *_ in curves.values())


def cell(row: Row, interval: bool = True) -> str:
    """'12.3 [10.1, 14.9]'; AP with two decimals, and a star where it is by the order of the image ids."""
    ends = [row.low, row.high] if interval and row.low is not None else []
    text = bracketed([row.value, *ends], '.2f' if 'AP' in row.metric else '.1f')
    value, *rest = text.split(' ', 1)
    return ' '.join([value + STAR * (row.order == 'as given'), *rest])


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(str(cell) for cell in line)} |' for line in lines)

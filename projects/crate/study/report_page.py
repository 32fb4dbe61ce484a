"""The report's page: checkpoints side by side."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from ..evaluation.sparse_rate import mean_and_std
from . import page
from .attention_figure import attention_figure
from .curves import curve_figure, error_bars, sparse_rate_figure
from .grid import draw_tokens, picture_grid
from .masks import painted
from .material import DataSet, Material, whole_image
from .output import drawable
from .report import NOISE, NUM_RESAMPLES, PRECISIONS, ModelReport, bootstrap_interval

# of arXiv 2308.16271: mIoU of Figure 4b, mask AP of Table 1
PUBLISHED = [
    ['CRATE-S/8', 'supervised', '23.9', '0.8'],
    ['CRATE-B/8', 'supervised', '23.6', '1.0'],
    ['ViT-S/8', 'supervised', '14.1', '0.0'],
    ['ViT-B/8', 'supervised', '19.2', '0.4'],
    ['ViT-S/8', 'DINO', '27.0', '1.7'],
    ['ViT-B/8', 'DINO', '27.3', '1.8'],
]
RULES = dict(mass='60% of the mass', top='top 60% of patches')
ABOUT = (
    'Models that were not told where objects are: does their attention find objects, and do their features separate '
    'them? The checkpoints were measured as they are, without any training on the images below. Methods: arXiv '
    '2308.16271, Appendix B. Layers and heads count from 0.'
)
MAX_COLUMNS = 13  # of a figure whose pictures can still be seen


def report_page(
    path: Path,
    reports: Sequence[ModelReport],
    material: Material,
    shares: Sequence[Mapping[str, float]],
    command: str,
    versions: Mapping[str, str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        reports: One per model.
        material: What all of them were measured on.
        shares: What ``object_shares`` says of its data set in VOC layout; empty if there is none.
        command: What was typed.
        versions: Of the packages.
    """
    size = '{} x {}'.format(*material.size)
    parts = [
        page.paragraph(ABOUT),
        page.paragraph(' '.join(in_short(reports, shares))),
        page.table(['', *names(reports)], facts(reports), is_text=True),
        page.heading('Data'),
        page.table(['task', 'data', 'images'], data_rows(material.voc, material.coco), is_text=True),
        page.paragraph(f'Images are taken evenly spaced from the list, and resized to {size} pixels (height x width).'),
    ]
    if material.voc is not None:
        parts += coarse_segmentation(reports, shares)
    if material.coco is not None:
        parts += maskcut(reports, len(material.coco.chosen))
    parts += [*published(), *layer_objective(reports), *gallery(reports, material), *under_noise(reports)]
    parts += [page.heading('How this page was made'), page.listing([command])]
    parts += [page.paragraph(', '.join(f'{name} {version}' for name, version in versions.items()))]
    page.write_page(path, f'Emergence report: {", ".join(names(reports))}', parts)


def names(reports: Sequence[ModelReport]) -> list[str]:
    """Of the models."""
    return [report.model.name for report in reports]


def in_short(reports: Sequence[ModelReport], shares: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """The main numbers as sentences."""
    if reports[0].coarse:
        rule = next(iter(reports[0].coarse))
        values = ', '.join(f'{report.coarse[rule].mean[-1]:.1f}% ({report.model.name})' for report in reports)
        count = reports[0].coarse[rule].images.shape[1]
        yield (
            f'In the last layer, the attention of the best head covers the objects of {count} images with a mean IoU '
            f'of {values}; a mask of the whole image would have {whole_image(shares):.1f}%.'
        )
    if reports[0].maskcut:
        values = ', '.join(
            f'{average_precision(report, "mask AP")[0]:.2f}% ({report.model.name})' for report in reports
        )
        yield f'The masks that MaskCut finds in the features have an average precision of {values}.'


def facts(reports: Sequence[ModelReport]) -> list[list[str]]:
    """What is known of each model, a column each."""
    columns = {
        'backbone': [report.architecture for report in reports],
        'its parameters': [f'{report.num_parameters:,}' for report in reports],
        'patch': ['{} x {} pixels'.format(*report.patch_size) for report in reports],
        'training config': [report.model.config_name or 'not in the checkpoint' for report in reports],
        'trained for': [report.model.training or 'not in the checkpoint' for report in reports],
        'checkpoint': [str(report.model.checkpoint) for report in reports],
        'SHA-256': [f'{report.model.digest[:16]}…' for report in reports],
    }
    return [[label, *texts] for label, texts in columns.items()]


def data_rows(voc: DataSet | None, coco: DataSet | None) -> list[list[str]]:
    """What was measured where, and what could not be."""
    rows = []
    for task, data, layout in (('coarse segmentation', voc, 'VOC'), ('MaskCut', coco, 'COCO')):
        if data is None:
            rows.append([task, f'not measured: no data set in {layout} layout was found', '-'])
        else:
            source = f'{data.changes["data_root"]}, {data.changes["ann_file"]}'
            rows.append([task, source, f'{len(data.chosen)} of {len(data.images)}'])
    return rows


def coarse_segmentation(reports: Sequence[ModelReport], shares: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Tables and curve of the IoU of the best head."""
    rules = [*reports[0].coarse]
    first = rules[0]
    count = reports[0].coarse[first].images.shape[1]
    whole = whole_image(shares)
    yield page.heading('Coarse segmentation: does the attention of a head cover the object?')
    yield page.paragraph(
        'Each head of a layer gives a map: how much [CLS] attends to each patch. A part of the map becomes a mask: the '
        'smallest set of patches that holds 60% of its mass (the rule of DINO), or the top 60% of all patches (the '
        "paper's words). For each class in an image the head with the largest IoU (intersection over union) counts, "
        'chosen with the ground truth in hand (so that a model with more heads has more to choose from); mIoU is the '
        'mean over the classes of an image, then over images.'
    )
    yield page.table(*miou_table(reports, rules))
    yield page.paragraph(
        f'mIoU in percent, on {count} images with an object; in brackets the 95% interval of the mean if other images '
        'were drawn (bootstrap). The best layer was chosen on these same images, which flatters it a little. A mask of '
        f'the whole image, without any model, has {whole:.1f}; a map that finds objects should be above that.'
    )
    if len(reports) > 1:
        yield page.table(*difference_table(reports, rules))
        yield page.paragraph(
            'Differences, image by image, with their 95% interval over images: one that holds 0 may be chance. None '
            'says what another training with another seed would give.'
        )
    caption = f'standard error of the mean over {count} images. Dashed: a mask of the whole image.'
    yield page.side_by_side(
        *(page.picture(miou_figure(reports, rule, whole), f'Rule: {RULES[rule]}; bars: {caption}') for rule in rules)
    )
    yield page.side_by_side(
        page.table(*head_table(reports, first)),
        page.table(*class_table(reports, first, Counter(name for image in shares for name in image))),
    )
    yield page.paragraph(
        f'Last layer, {RULES[first]}, in percent. The heads: mIoU of one head for all images. The classes: best head, '
        'mean over the images with the class; with few images a row is an anecdote.'
    )


def miou_table(reports: Sequence[ModelReport], rules: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The last and the best layer under each rule."""
    rows = []
    for rule in rules:
        for report in reports:
            coarse = report.coarse[rule]
            best = int(coarse.mean.argmax())
            last, highest = (with_interval(coarse.images[layer], '.1f') for layer in (-1, best))
            rows.append([report.model.name, RULES[rule], last, highest, best])
    return ['model', 'rule', 'mIoU, last layer', 'mIoU, best layer', 'which'], rows


def with_interval(values: np.ndarray, style: str) -> str:
    """The mean over images (n,), and its interval."""
    return bracketed([values.mean(), *(bootstrap_interval(values) if len(values) > 1 else ())], style)


def bracketed(values: Sequence[float], style: str) -> str:
    """'1.2 [0.8, 1.7]' of a number and the ends of its interval, if it has one."""
    value, *ends = (f'{each:{style}}' for each in values)
    return f'{value} [{", ".join(ends)}]' if ends else value


def difference_table(reports: Sequence[ModelReport], rules: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Every model against the first, on the same images."""
    first, *others = reports
    rows = []
    for rule in rules:
        base = first.coarse[rule]
        for report in others:
            coarse = report.coarse[rule]
            layers = (-1, -1), (coarse.mean.argmax(), base.mean.argmax())
            cells = [with_interval(coarse.images[layer] - base.images[other], '+.1f') for layer, other in layers]
            rows.append([f'{report.model.name} - {first.model.name}', RULES[rule], *cells])
    return ['difference', 'rule', 'last layer', 'best layer of each'], rows


def miou_figure(reports: Sequence[ModelReport], rule: str, whole: float) -> Figure:
    """IoU against the layer."""
    curves = {}
    for report in reports:
        coarse = report.coarse[rule]
        error = stats.sem(coarse.images, axis=1) if coarse.images.shape[1] > 1 else None
        curves[report.model.name] = (range(len(coarse.mean)), coarse.mean, error)
    figure = curve_figure(curves, 'layer (0-based)', 'mIoU of the best head (%)')
    figure.axes[0].axhline(whole, color='grey', linestyle='--', linewidth=0.8)
    return figure


def head_table(reports: Sequence[ModelReport], rule: str) -> tuple[list[str], list[list[str]]]:
    """Each head of the last layer."""
    heads = [report.coarse[rule].heads[-1] for report in reports]
    rows = [
        [f'head {index}', *(f'{values[index]:.1f}' if index < len(values) else '' for values in heads)]
        for index in range(max(map(len, heads)))
    ]
    return ['', *names(reports)], rows


def class_table(
    reports: Sequence[ModelReport], rule: str, counts: Mapping[str, int]
) -> tuple[list[str], list[list[str]]]:
    """Each class in the last layer, and how often it is there."""
    classes = [report.coarse[rule].classes for report in reports]
    rows = [[name, counts[name], *(f'{values[name][-1]:.1f}' for values in classes)] for name in classes[0]]
    return ['class', 'images', *names(reports)], sorted(rows, key=lambda row: -row[1])


def maskcut(reports: Sequence[ModelReport], count: int) -> Iterator[str]:
    """Table of the AP, and curves if there are several layers."""
    yield page.heading('MaskCut: do features separate objects?')
    rows = []
    for report in reports:
        cells = [bracketed(average_precision(report, name), '.2f') for name in PRECISIONS]
        rows.append([report.model.name, report.layer, *cells])
    yield page.table(['model', 'layer', *PRECISIONS], rows)
    yield page.paragraph(
        f'Class-agnostic COCO average precision in percent, on {count} images: at most three masks per image, cut from '
        'the features of one layer (keys of a ViT), no CRF, every score 1: the mean over the orders of the images. '
        'With few images a single lucky mask moves it: in brackets the 95% interval if other images were drawn '
        f'(bootstrap, {NUM_RESAMPLES} draws of these '
        'images with replacement). An interval is of one model alone: where two overlap, one model may still be better '
        'on the same images.'
    )
    if len(reports[0].maskcut[0]) > 1:
        yield page.side_by_side(*(maskcut_curve(reports, kind, count) for kind in ('box AP', 'mask AP')))


def average_precision(report: ModelReport, name: str) -> list[float]:
    """One of ``PRECISIONS`` in percent, in the layer of the pictures, and the ends of its interval if it has one."""
    index = [*report.maskcut[0]].index(report.layer)
    return [float(values[index]) for values in average_precisions(report, name)]


def average_precisions(report: ModelReport, name: str) -> list[np.ndarray]:
    """As :func:`average_precision`, in every layer that was measured: (layers,) each."""
    metrics, key = report.maskcut[1], PRECISIONS[name]
    return [100 * metrics[each] for each in (key, f'{key}_low', f'{key}_high') if each in metrics]


def maskcut_curve(reports: Sequence[ModelReport], kind: str, count: int) -> str:
    """AP against the layer."""
    curves = {}
    for report in reports:
        value, *ends = average_precisions(report, kind)
        bars = [error_bars(value, *ends)] if ends else []
        curves[report.model.name] = (report.maskcut[0], value, *bars)
    figure = curve_figure(curves, 'layer (0-based)', f'{kind} (%)')
    return page.picture(figure, f'MaskCut, {kind} on {count} images; bars: 95% interval')


def published() -> Iterator[str]:
    """What the paper reports, told apart from what was measured."""
    yield page.heading('For comparison: published numbers')
    yield page.table(['model', 'trained', 'mIoU, VOC 2012 val', 'mask AP, COCO val2017'], PUBLISHED)
    yield page.paragraph(
        'Published in arXiv 2308.16271 (Figure 4b, Table 1), not measured here: other models, trained on ImageNet-21k, '
        'on all 1,449 and 5,000 images. Compare a number above with these only if it is of the same images.'
    )


def layer_objective(reports: Sequence[ModelReport]) -> Iterator[str]:
    """What CRATE's layers optimise."""
    count = reports[0].rates['nonzero'].shape[1]
    yield page.heading('Compression and sparsity, layer by layer')
    rates = {report.model.name: mean_and_std(report.rates) for report in reports}
    yield page.picture(
        sparse_rate_figure(rates),
        'Left: coding rate of the tokens in the subspaces of the heads (of a ViT, of its keys); lower is more '
        "compressed. Right: share of the entries of a layer's output that are not zero; a ViT's output is dense. Mean "
        f'and standard deviation over {count} images. Coding rates of models with other widths or numbers of heads are '
        'on other scales.',
    )


def gallery(reports: Sequence[ModelReport], material: Material) -> Iterator[str]:
    """The same images, seen by all models."""
    images = material.pictures
    where = f'layer {", ".join(f"{report.layer} ({report.model.name})" for report in reports)}'
    yield page.heading('The same images, every model')
    yield page.paragraph(f'{len(images)} of the images, evenly spaced and not selected; {where}.')
    outlined = ' White: the border of the objects.' if any(mask.any() for mask in material.objects) else ''
    for group in figure_groups(reports):
        maps = {label(report): report.attention for report in group}
        figure = attention_figure(images, maps, material.objects, patch_size=group[0].patch_size)
        caption = f'Attention of [CLS] to the patches, every head, each map scaled to its own maximum.{outlined}'
        yield page.picture(figure, caption)
    colours = {label(report): (report.colours, report.patch_size) for report in reports}
    masks = {
        label(report): ([painted(image, found) for image, found in zip(images, report.masks)], (1, 1))
        for report in reports
    }
    comparisons = [
        page.picture(
            comparison_figure(images, colours),
            "The patches' features by principal components: the second to fourth as red, green and blue, computed over "
            "all of these images at once (as the paper's Figure 9). Colours of two models are not related.",
        ),
        page.picture(
            comparison_figure(images, masks), 'Masks of MaskCut: red the first, blue the second, yellow the third.'
        ),
    ]
    yield from [page.side_by_side(*comparisons)] if len(reports) < 3 else comparisons


def under_noise(reports: Sequence[ModelReport]) -> Iterator[str]:
    """One image with more and more noise."""
    yield page.heading('Attention under noise')
    rows = [f'std {std:g}, {share:.0%}' for std in NOISE['stds'] for share in NOISE['shares']]
    for group in figure_groups(reports):
        noisy = [*np.concatenate(group[0].noise[0])]
        maps = {label(report): [*np.concatenate(report.noise[1])] for report in group}
        yield page.picture(
            attention_figure(noisy, maps, names=rows, patch_size=group[0].patch_size),
            'The first image with Gaussian noise of this standard deviation (grey levels of 255) on this share of the '
            'pixels; one draw of the noise. A map that holds on to the object looks the same in all rows.',
        )


def figure_groups(reports: Sequence[ModelReport]) -> list[Sequence[ModelReport]]:
    """Models that share a figure of all heads: all of them where they fit, else each has its own."""
    heads = sum(len(report.attention[0]) for report in reports)
    alike = len({report.patch_size for report in reports}) == 1
    return [reports] if heads < MAX_COLUMNS and alike else [[report] for report in reports]


def label(report: ModelReport) -> str:
    """The name in lines as narrow as a picture."""
    return textwrap.fill(report.model.name, 15)


def comparison_figure(
    images: Sequence[np.ndarray], columns: Mapping[str, tuple[Sequence[np.ndarray], tuple[int, int]]]
) -> Figure:
    """One row per image: the image, then what each model makes of it.

    Args:
        images: (H, W, 3) uint8 each.
        columns: Name -> (h, w, 3) per image, and the (height, width) of one of its cells in pixels.
    """
    figure, axes = picture_grid([image.shape[:2] for image in images], 1 + len(columns), cell=1.6)
    for row, image in enumerate(images):
        axes[row, 0].imshow(image)
        for axis, (pixels, cell) in zip(axes[row, 1:], columns.values()):
            draw_tokens(axis, pixels[row], image.shape[:2], cell)
    for axis, name in zip(axes[0], ['image', *columns]):
        axis.set_title(drawable(name), fontsize=8)
    return figure

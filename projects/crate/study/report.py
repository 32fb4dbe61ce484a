"""The report's page: checkpoints side by side."""

import itertools
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from ..evaluation.sparse_rate import mean_and_std
from . import published
from .attention import attention_figure
from .comparison import comparison_figure, masks_figure
from .curves import LAYER, curve_figure, error_bars
from .images import StudyImages, whole_image_miou
from .measure import NOISE, NUM_RESAMPLES, PRECISIONS, RULES, ModelMeasurements, bootstrap_interval
from .page import write_page
from .sparse_rate import sparse_rate_figure
from .tables import Table, with_interval

MAX_COLUMNS = 13  # of a figure whose pictures can still be seen
Reports = Sequence[ModelMeasurements]


def report_page(
    path: Path,
    reports: Reports,
    images: StudyImages,
    shares: Sequence[Mapping[str, float]],
    command: str,
    versions: Mapping[str, str],
) -> None:
    """Write the page; ``shares`` are the result of ``object_shares``, empty without a data set in VOC layout."""
    write_page(
        path,
        'report',
        names=[report.model.name for report in reports],
        facts=_facts_table(reports),
        data=_data_table(images),
        size=images.size,
        coarse=_coarse_segmentation(reports, shares) if images.voc else None,
        maskcut=_maskcut(reports, len(images.coco.chosen)) if images.coco else None,
        published=published.report_table(),
        rates=sparse_rate_figure({report.model.name: mean_and_std(report.rates) for report in reports}),
        num_rates=reports[0].rates['nonzero'].shape[1],
        gallery=_gallery(reports, images),
        noise=[_noise_figure(group) for group in figure_groups(reports)],
        command=command,
        versions=versions,
    )


def _facts_table(reports: Reports) -> Table:
    unknown = 'not in the checkpoint'
    rows = {
        'backbone': [report.architecture for report in reports],
        'its parameters': [f'{report.num_parameters:,}' for report in reports],
        'patch': ['{} x {} pixels'.format(*report.patch_size) for report in reports],
        'training config': [report.model.config_name or unknown for report in reports],
        'trained for': [report.model.training or unknown for report in reports],
        'checkpoint': [str(report.model.checkpoint) for report in reports],
        'SHA-256': [f'{report.model.digest[:16]}…' for report in reports],
    }
    header = ['', *(report.model.name for report in reports)]
    return Table(header, [[label, *texts] for label, texts in rows.items()], is_text=True)


def _data_table(images: StudyImages) -> Table:
    rows = []
    for task, data, layout in (('coarse segmentation', images.voc, 'VOC'), ('MaskCut', images.coco, 'COCO')):
        if data is None:
            rows.append([task, f'not measured: no data set in {layout} layout was found', '-'])
        else:
            source = f'{data.changes["data_root"]}, {data.changes["ann_file"]}'
            rows.append([task, source, f'{len(data.chosen)} of {len(data.images)}'])
    return Table(['task', 'data', 'images'], rows, is_text=True)


def _coarse_segmentation(reports: Reports, shares: Sequence[Mapping[str, float]]) -> dict[str, object]:
    rules = [*reports[0].coarse]
    first, whole = rules[0], whole_image_miou(shares)
    names, found = [report.model.name for report in reports], [report.coarse[first] for report in reports]
    counts = Counter(name for image in shares for name in image)
    heads = itertools.zip_longest(*([f'{value:.1f}' for value in each.heads[-1]] for each in found), fillvalue='')
    classes = [[name, counts[name], *(f'{each.classes[name][-1]:.1f}' for each in found)] for name in found[0].classes]
    return dict(
        count=found[0].images.shape[1],
        whole=f'{whole:.1f}',
        last=', '.join(f'{each.mean[-1]:.1f}% ({name})' for each, name in zip(found, names)),
        rule=RULES[first],
        miou=_miou_table(reports, rules),
        differences=_difference_table(reports, rules) if len(reports) > 1 else None,
        figures={RULES[rule]: _miou_figure(reports, rule, whole) for rule in rules},
        heads=Table(['', *names], [[f'head {index}', *cells] for index, cells in enumerate(heads)]),
        classes=Table(['class', 'images', *names], sorted(classes, key=lambda row: -row[1])),
    )


def _mean(values: np.ndarray, style: str) -> str:
    """Return the mean over images (n,), and its interval."""
    return with_interval([values.mean(), *bootstrap_interval(values)], style)


def _miou_table(reports: Reports, rules: Sequence[str]) -> Table:
    rows = []
    for rule in rules:
        for report in reports:
            coarse = report.coarse[rule]
            best = int(coarse.mean.argmax())
            cells = [_mean(coarse.images[layer], '.1f') for layer in (-1, best)]
            rows.append([report.model.name, RULES[rule], *cells, best])
    return Table(['model', 'rule', 'mIoU, last layer', 'mIoU, best layer', 'which'], rows)


def _difference_table(reports: Reports, rules: Sequence[str]) -> Table:
    """Return every model against the first, on the same images."""
    first, *others = reports
    rows = []
    for rule in rules:
        base = first.coarse[rule]
        for report in others:
            coarse = report.coarse[rule]
            layers = (-1, -1), (coarse.mean.argmax(), base.mean.argmax())
            cells = [_mean(coarse.images[layer] - base.images[other], '+.1f') for layer, other in layers]
            rows.append([f'{report.model.name} - {first.model.name}', RULES[rule], *cells])
    return Table(['difference', 'rule', 'last layer', 'best layer of each'], rows)


def _miou_figure(reports: Reports, rule: str, whole: float) -> Figure:
    curves = {}
    for report in reports:
        coarse = report.coarse[rule]
        error = stats.sem(coarse.images, axis=1) if coarse.images.shape[1] > 1 else None
        curves[report.model.name] = (range(len(coarse.mean)), coarse.mean, error)
    figure = curve_figure(curves, LAYER, 'mIoU of the best head (%)')
    figure.axes[0].axhline(whole, color='grey', linestyle='--', linewidth=0.8)
    return figure


def _maskcut(reports: Reports, count: int) -> dict[str, object]:
    rows, short = [], []
    for report in reports:
        index = [*report.maskcut[0]].index(report.layer)
        found = {name: [values[index] for values in average_precision(report, name)] for name in PRECISIONS}
        rows.append([report.model.name, report.layer, *(with_interval(each, '.2f') for each in found.values())])
        short.append(f'{found["mask AP"][0]:.2f}% ({report.model.name})')
    kinds = ('box AP', 'mask AP') if len(reports[0].maskcut[0]) > 1 else ()
    return dict(
        count=count,
        resamples=NUM_RESAMPLES,
        table=Table(['model', 'layer', *PRECISIONS], rows),
        mask_ap=', '.join(short),
        figures={kind: maskcut_figure(reports, kind) for kind in kinds},
    )


def average_precision(report: ModelMeasurements, name: str) -> list[np.ndarray]:
    """Return one of ``PRECISIONS`` in percent, and the ends of its interval if it has one: (layers,) each."""
    metrics, key = report.maskcut[1], PRECISIONS[name]
    return [100 * metrics[each] for each in (key, f'{key}_low', f'{key}_high') if each in metrics]


def maskcut_figure(reports: Reports, kind: str) -> Figure:
    """Draw AP against the layer."""
    curves = {}
    for report in reports:
        value, *ends = average_precision(report, kind)
        curves[report.model.name] = (report.maskcut[0], value, *([error_bars(value, *ends)] if ends else []))
    return curve_figure(curves, LAYER, f'{kind} (%)')


def _gallery(reports: Reports, images: StudyImages) -> dict[str, object]:
    pictures, objects = images.pictures, images.objects
    return dict(
        count=len(pictures),
        where=', '.join(f'{report.layer} ({report.model.name})' for report in reports),
        has_outlines=any(mask.any() for mask in objects),
        attention=[
            attention_figure(
                pictures, {_label(each): each.attention for each in group}, objects, patch_size=group[0].patch_size
            )
            for group in figure_groups(reports)
        ],
        colours=comparison_figure(pictures, {_label(each): (each.colours, each.patch_size) for each in reports}),
        masks=masks_figure(pictures, {_label(each): each.masks for each in reports}),
    )


def _noise_figure(group: Reports) -> Figure:
    rows = [f'std {std:g}, {share:.0%}' for std in NOISE['stds'] for share in NOISE['shares']]
    noisy = [*np.concatenate(group[0].noise[0])]
    maps = {_label(report): [*np.concatenate(report.noise[1])] for report in group}
    return attention_figure(noisy, maps, names=rows, patch_size=group[0].patch_size)


def figure_groups(reports: Reports) -> list[Reports]:
    """Return the models that share a figure of all heads: all of them where they fit, else each has its own."""
    heads = sum(len(report.attention[0]) for report in reports)
    alike = len({report.patch_size for report in reports}) == 1
    return [reports] if heads < MAX_COLUMNS and alike else [[report] for report in reports]


def _label(report: ModelMeasurements) -> str:
    return textwrap.fill(report.model.name, 15)  # lines as narrow as a picture

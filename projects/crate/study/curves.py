"""Curves against a step or a layer, and the numbers that mmengine logged."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .drawing import drawable

LAYER = 'layer (0-based)'  # label of x
CYCLE = matplotlib.style.library['tableau-colorblind10']['axes.prop_cycle']  # matplotlib's own has green beside orange


def read_scalars(work_dir: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of one scalar that a run logged into ``<time stamp>/vis_data/scalars.json``.

    A resumed run logs into its own folder. If two starts logged the same step, the later start counts. The arrays
    are sorted by step, and empty where nothing was logged.
    """
    values: dict[int, float] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            record = json.loads(line)
            if key in record:
                values[record['step']] = record[key]
    steps = np.array(sorted(values), dtype=int)
    return steps, np.array([values[step] for step in steps])


def curve_figure(
    curves: Mapping[str, Sequence[Sequence[float]]], xlabel: str, ylabel: str, dashed: Sequence[str] = ()
) -> Figure:
    """Draw named curves in one plot.

    ``curves`` are (x, y), or (x, y, length of the error bars to either side: (n,), or down and up: (2, n)), by name.
    A name in ``dashed`` has a dashed line, in the colour of the curve before it.
    """
    figure = Figure(figsize=(5, 3), layout='constrained')
    axis = figure.subplots()
    draw_curves(axis, curves, xlabel, ylabel, dashed)
    axis.legend(fontsize=8)
    return figure


def draw_curves(
    axis: Axes, curves: Mapping[str, Sequence[Sequence[float]]], xlabel: str, ylabel: str, dashed: Sequence[str] = ()
) -> None:
    """Draw named curves, without a legend; arguments as in :func:`curve_figure`."""
    axis.set_prop_cycle(CYCLE)
    colour = None
    for name, (x, y, *error) in curves.items():
        style = dict(linestyle='--', color=colour) if name in dashed else {}
        marker = 'o' if len(x) < 20 else ''
        line, *_ = axis.errorbar(x, y, *error, marker=marker, capsize=2, elinewidth=0.8, label=drawable(name), **style)
        colour = line.get_color()
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.grid(alpha=0.3)


def error_bars(values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Return the lengths of the bars from values (n,) to the ends of their intervals, (2, n).

    A value outside of its interval, as an AP of few images may be, has no bar to that side.
    """
    values = np.asarray(values)
    return np.stack([values - low, high - values]).clip(min=0)

"""Compression and sparsity, layer by layer, of a checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from ..evaluation.sparse_rate import sparse_rate
from .curves import LAYER, draw_curves
from .observer import Observer
from .tables import plain_table


def layer_rates(
    observer: Observer, images: Iterable[tuple[Path, np.ndarray]]
) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Return the paths (n), and 'compression' and 'nonzero' of L layers for every image, (L, n) float64 each.

    ``images`` are paths and images (H, W, 3) uint8 RGB, of any sizes, at least one. The numbers are as in
    :func:`projects.crate.evaluation.sparse_rate.sparse_rate`.
    """
    layers = range(observer.num_layers)
    seen = ((path, observer.observe([image], layers, outputs=True)) for path, image in images)
    paths, rates = zip(*((path, sparse_rate(observations.values())) for path, observations in seen))
    return [*paths], {key: torch.cat([rate[key] for rate in rates], dim=1).cpu().numpy() for key in rates[0]}


def rate_table(summary: Mapping[str, Sequence[float]]) -> str:
    """Return the result of ``mean_and_std`` as text, a row per layer."""
    columns = (summary[key] for key in ('compression', 'compression_std', 'nonzero', 'nonzero_std'))
    rows = [
        [str(layer), f'{rate:.2f} ± {rate_std:.2f}', f'{share:.3f} ± {share_std:.3f}']
        for layer, (rate, rate_std, share, share_std) in enumerate(zip(*columns))
    ]
    return plain_table(['layer', 'coding rate (nats)', 'share of non-zeros'], rows)


def sparse_rate_figure(measurements: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw compression and sparsity against the layer, side by side, with standard deviations as error bars.

    ``measurements`` are results of :func:`projects.crate.evaluation.sparse_rate.mean_and_std` by name.
    """
    figure = Figure(figsize=(10, 3.5), layout='constrained')
    labels = dict(compression='coding rate $R^c$ (nats)', nonzero='share of non-zeros')
    for axis, (key, label) in zip(figure.subplots(1, 2), labels.items()):
        curves = {
            name: (range(len(values[key])), values[key], values[f'{key}_std']) for name, values in measurements.items()
        }
        draw_curves(axis, curves, LAYER, label)
        axis.legend(fontsize=8)
    return figure

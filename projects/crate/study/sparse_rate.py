"""Compression and sparsity, layer by layer, of a checkpoint."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ..evaluation.sparse_rate import sparse_rate
from .observer import Observer


def layer_rates(
    observer: Observer, images: Iterable[tuple[Path, np.ndarray]]
) -> tuple[list[Path], dict[str, np.ndarray]]:
    """Coding rate and share of non-zeros of every layer for every image.

    Args:
        observer: The model.
        images: Paths and images (H, W, 3) uint8 RGB, of any sizes; at least one.

    Returns:
        The paths (n), and 'compression' and 'nonzero' (:func:`projects.crate.evaluation.sparse_rate.sparse_rate`), (L,
        n) float64 each, L being the layers that run.
    """
    layers = range(observer.num_layers)
    seen = ((path, observer.observe([image], layers, outputs=True)) for path, image in images)
    paths, rates = zip(*((path, sparse_rate(observations.values())) for path, observations in seen))
    return [*paths], {key: torch.cat([rate[key] for rate in rates], dim=1).cpu().numpy() for key in rates[0]}

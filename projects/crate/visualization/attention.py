"""Attention maps of all heads beside the image they belong to."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def attention_figure(
    images: Sequence[np.ndarray],
    maps: dict[str, Sequence[np.ndarray]],
    outlines: Sequence[np.ndarray] | None = None,
    cell: float = 1.1,
) -> Figure:
    """One row per image: the image, then every head of each group of maps.

    Args:
        images: (H, W, 3) uint8 each.
        maps: Title of a group ('before training', say) -> per image (K, h, w), each map scaled to its own maximum.
        outlines: Per image a mask (H, W) drawn as a white line over every map.
        cell: Side of a picture in inches.
    """
    columns = 1 + sum(len(group[0]) for group in maps.values())
    figure = Figure(figsize=(cell * columns, cell * len(images) + 0.4), layout='constrained')
    axes = figure.subplots(len(images), columns, squeeze=False)
    for row, image in enumerate(images):
        cells = iter(axes[row])
        next(cells).imshow(image)
        for group in maps.values():
            for head in group[row]:
                draw_map(next(cells), head, image.shape[:2], None if outlines is None else outlines[row])
    titles = ['image', *(f'{name}\nhead {head}' for name, group in maps.items() for head in range(len(group[0])))]
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure


def draw_map(axis, head: np.ndarray, size: tuple[int, int], outline: np.ndarray | None) -> None:
    """One map (h, w), stretched over an image of ``size`` (H, W), without smoothing: a token is a square."""
    height, width = size
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axis.imshow(head, cmap='inferno', vmin=0, vmax=head.max(), extent=extent, interpolation='nearest')
    if outline is not None and outline.any():
        axis.contour(outline, levels=[0.5], colors='white', linewidths=0.7)

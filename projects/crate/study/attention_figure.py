"""Attention maps of all heads beside the image they belong to."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from .grid import draw_tokens, picture_grid
from .output import drawable

COLOURS = 'inferno'


def attention_figure(
    images: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    outlines: Sequence[np.ndarray] | None = None,
    masks: Mapping[str, Sequence[np.ndarray]] | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
    patch_size: tuple[int, int] | None = None,
    cell: float = 1.1,
) -> Figure:
    """One row per image: the image, then every head of each group of maps; and what the colours mean.

    Args:
        images: (H, W, 3) uint8 each.
        maps: Title of a group ('before training', say; may be empty) -> per image (K, h, w), each map scaled to its own
            maximum.
        outlines: Per image a mask (H, W) drawn as a white line over every map.
        masks: As ``maps``, (K, h, w) bool: each drawn as a white line over its map.
        names: Of the images, left of them.
        title: Above all.
        patch_size: (height, width) of a patch in pixels: where it does not divide an image, the last tokens of a map
            are cut to the image. Default: the map is stretched over the image.
        cell: Width of a picture in inches.
    """
    columns = 1 + sum(len(group[0]) for group in maps.values())
    figure, axes = picture_grid([image.shape[:2] for image in images], columns, cell, title, names)
    for row, image in enumerate(images):
        size = image.shape[:2]
        axes[row, 0].imshow(image)
        heads = [(name, head) for name, group in maps.items() for head in range(len(group[row]))]
        for axis, (name, head) in zip(axes[row, 1:], heads):
            values = maps[name][row][head]
            draw_tokens(axis, values, size, patch_size, cmap=COLOURS, vmin=0, vmax=values.max())
            if masks is not None:
                draw_outline(axis, spread(masks[name][row][head], size, patch_size))
            if outlines is not None:
                draw_outline(axis, outlines[row])
            if row == 0:
                axis.set_title(drawable(f'{name}\nhead {head}'.strip()), fontsize=8)
    axes[0, 0].set_title('image', fontsize=8)
    scale = figure.colorbar(ScalarMappable(cmap=COLOURS), ax=axes, fraction=0.02, pad=0.01, aspect=25)
    scale.set_ticks([0, 1], labels=['0', 'largest\nof each'], fontsize=6)
    scale.outline.set_visible(False)
    return figure


def draw_outline(axis: Axes, mask: np.ndarray) -> None:
    """A white line around a mask (H, W)."""
    if mask.any():
        axis.contour(mask, levels=[0.5], colors='white', linewidths=0.7)


def spread(tokens: np.ndarray, size: tuple[int, int], patch_size: tuple[int, int] | None) -> np.ndarray:
    """A map (h, w) by pixel, (H, W); see :func:`draw_tokens`."""
    rows, columns = (
        np.arange(pixels) * count // pixels if patch is None else np.arange(pixels) // patch
        for pixels, count, patch in zip(size, tokens.shape, patch_size or (None, None))
    )
    return tokens[rows[:, None], columns]

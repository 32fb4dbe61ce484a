"""Principal components of patches as colours."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from .grid import draw_tokens, picture_grid


def pca_figure(
    images: Sequence[np.ndarray],
    colours: Sequence[np.ndarray],
    title: str | None = None,
    patch_size: tuple[int, int] | None = None,
    columns: int = 8,
    cell: float = 1.4,
) -> Figure:
    """Images, and below each of them the colours of its patches (arXiv 2308.16271, Figure 3).

    Args:
        images: (H, W, 3) uint8 each.
        colours: (h, w, 3) from 0 to 1 per image.
        title: Above all.
        patch_size: (height, width) in pixels, as for :func:`draw_tokens`.
        columns: Most images in a row.
        cell: Width of a picture in inches.
    """
    columns = min(columns, len(images))
    rows = range(0, len(images), columns)
    sizes = [tallest(images[row : row + columns]) for row in rows for _ in 'ab']
    figure, axes = picture_grid(sizes, columns, cell, title)
    for number, (image, colour) in enumerate(zip(images, colours)):
        row, column = divmod(number, columns)
        axes[2 * row, column].imshow(image)
        draw_tokens(axes[2 * row + 1, column], colour, image.shape[:2], patch_size)
    return figure


def tallest(images: Sequence[np.ndarray]) -> tuple[int, int]:
    """(H, W) of the image that needs the highest row."""
    return max((image.shape[:2] for image in images), key=lambda size: size[0] / size[1])


def layers_figure(
    images: Sequence[np.ndarray],
    first: Sequence[Sequence[np.ndarray]],
    colours: Sequence[Sequence[np.ndarray]],
    layers: Sequence[int],
    title: str | None = None,
    patch_size: tuple[int, int] | None = None,
    cell: float = 1.1,
) -> Figure:
    """Two rows per image, a column per layer: the first component, and the next three (arXiv 2308.16271, Figure 9).

    Args:
        images: (H, W, 3) uint8 each.
        first: Per layer and image, (h, w) from 0 to 1.
        colours: Per layer and image, (h, w, 3) from 0 to 1.
        layers: Their indices.
        title: Above all.
        patch_size: (height, width) in pixels, as for :func:`draw_tokens`.
        cell: Width of a picture in inches.
    """
    sizes = [image.shape[:2] for image in images for _ in 'ab']
    names = ['component 1', 'components 2-4'] * len(images)
    figure, axes = picture_grid(sizes, 1 + len(layers), cell, title, names)
    for number, image in enumerate(images):
        axes[2 * number, 0].imshow(image)
        for column in range(len(layers)):
            above, below = axes[2 * number : 2 * number + 2, column + 1]
            draw_tokens(above, first[column][number], image.shape[:2], patch_size, cmap='gray', vmin=0, vmax=1)
            draw_tokens(below, colours[column][number], image.shape[:2], patch_size)
    for axis, layer in zip(axes[0, 1:], layers):
        axis.set_title(f'layer {layer}', fontsize=8)
    return figure

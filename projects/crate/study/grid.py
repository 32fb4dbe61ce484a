"""Pictures in rows and columns, without space between them that shows nothing."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .output import drawable

NAME_LENGTH = 22  # characters that fit beside a row
MARGIN = 0.8  # inches, for the names of the rows and a scale


def picture_grid(
    sizes: Sequence[tuple[int, int]],
    columns: int,
    cell: float,
    title: str | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Figure, np.ndarray]:
    """A figure for pictures of equal width; a row is as high as its pictures.

    Args:
        sizes: (height, width) of the pictures in each row, in any unit.
        columns: Number of them in a row.
        cell: Width of a picture in inches.
        title: Above all.
        names: Of the rows, left of them.

    Returns:
        The figure, and its axes (rows, columns), which show neither ticks nor frames.
    """
    ratios = [height / width for height, width in sizes]
    # compressed: axes of fixed aspect are moved together
    size = (cell * columns + MARGIN, cell * sum(ratios) + 0.03 * len(ratios) + (0.5 if title else 0.3))
    figure = Figure(figsize=size, layout='compressed')
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = figure.subplots(len(sizes), columns, squeeze=False, height_ratios=ratios)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=9)
    for axis, name in zip(axes[:, 0], names or []):
        short = name if len(name) <= NAME_LENGTH else f'{name[: NAME_LENGTH - 1]}…'
        axis.set_ylabel(drawable(short), fontsize=6)
    return figure, axes


def draw_tokens(
    axis: Axes, tokens: np.ndarray, size: tuple[int, int], patch_size: tuple[int, int] | None = None, **options
) -> None:
    """A value or a colour per token over the place of an image, without smoothing: a token is a rectangle.

    Args:
        axis: Where to draw.
        tokens: (h, w) or (h, w, 3).
        size: (H, W) of the image.
        patch_size: (height, width) of a patch in pixels: where it does not divide the image, the last tokens are cut.
            Default: the tokens are stretched over the image.
        **options: As for matplotlib's ``imshow``.
    """
    height, width = size if patch_size is None else np.multiply(tokens.shape[:2], patch_size)
    axis.imshow(tokens, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation='nearest', **options)
    axis.set(xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5))

"""Helpers of several figures: pictures in rows and columns, the place of a token, files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import atomic, make_folder

NAME_LENGTH = 22  # characters that fit beside a row
MARGIN = 0.8  # inches, for the names of the rows and a scale


def drawable(name: str) -> str:
    """Return a name as matplotlib can draw it: bytes of a path that are no text are escaped, '$' begins no formula."""
    return name.encode('utf-8', 'backslashreplace').decode().replace('$', r'\$')


def picture_grid(
    sizes: Sequence[tuple[int, int]],
    columns: int,
    cell: float,
    title: str | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Return a figure for pictures of equal width, and its axes (rows, columns) without ticks and frames.

    ``sizes`` are (height, width) of the pictures in each row, in any unit; a row is as high as its pictures. ``cell``
    is the width of a picture in inches. ``names`` of the rows are drawn on the left.
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
    """Draw a value (h, w) or a colour (h, w, 3) per token over the place of an image (H, W): a token is a rectangle.

    ``patch_size`` is (height, width) in pixels: where it does not divide the image, the last tokens are cut. Without it
    the tokens are stretched over the image. ``options`` are those of matplotlib's ``imshow``.
    """
    height, width = size if patch_size is None else np.multiply(tokens.shape[:2], patch_size)
    axis.imshow(tokens, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation='nearest', **options)
    axis.set(xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5))


def save_figure(figure: Figure, stem: Path, **arrays: np.ndarray) -> list[Path]:
    """Write a figure as PNG and PDF, and the numbers in it as npz, each in one step; return the three paths.

    ``stem`` is the path without suffix; its folder is made. ``arrays`` are the drawn numbers by name.
    """
    make_folder(stem.parent)
    paths = [stem.with_name(f'{stem.name}.{suffix}') for suffix in ('png', 'pdf', 'npz')]
    for path in paths[:2]:
        with atomic(path) as part:
            figure.savefig(part, format=path.suffix[1:], dpi=150)
    with atomic(paths[2]) as part, part.open('wb') as file:  # given a path, numpy adds its own suffix
        np.savez_compressed(file, **arrays)
    return paths

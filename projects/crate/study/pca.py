"""Patches coloured by their principal components (arXiv 2308.16271, Appendix B.2; Figures 3, 6, 9).

The matrix of features Z (d x n, one column for each patch of all images) is not centred. The components are projections
<u_i, z> on the eigenvectors u_0, u_1, ... of Z Z^T, by falling eigenvalue.

The sign of an eigenvector is arbitrary, and the paper chooses none. u_0 tells foreground from background. Its sign puts
the corners of the images below the average: as in MaskCut, corners are taken for background. The other eigenvectors,
which are colours, make the projection of largest magnitude positive (of several, the first).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ..errors import ArgumentError
from .drawing import draw_tokens, picture_grid


@dataclass(frozen=True)
class Foreground:
    """Patches of several images after the removal of the background; lists have an entry per image."""

    projections: list[np.ndarray]  # <u_0, z>, (h, w)
    masks: list[np.ndarray]  # foreground, (h, w) bool
    colours: list[np.ndarray]  # (h, w, 3) from 0 to 1, black in the background


def remove_background(features: Sequence[np.ndarray], threshold: float = 12.0, flip: bool = False) -> Foreground:
    """Return the colours of the foreground of several images, the same colour for the same part (Figure 3).

    The foreground is where <u_0, z> > 0 and >= ``threshold``. If no patch is there, u_0 takes the other sign. Red,
    green and blue are the first three components of the foreground alone, each scaled from its least to its largest
    value over all images. A component that does not vary is 1; a component that does not exist, since the foreground
    has fewer dimensions, is 0.

    Args:
        features: (h, w, d) per image; grids may differ. NaN or inf is a ValueError.
        threshold: On the scale of the features; the paper's 12 is for its own models. It is a ValueError if no patch
            reaches it.
        flip: Take the other sign of u_0, where the rule for the sign errs.
    """
    patches, shapes = _stack(features)
    leading = leading_component(patches, shapes)
    sides = [-leading] if flip else [leading, -leading]
    projection = next((side for side in sides if side.max() > 0 and side.max() >= threshold), None)
    if projection is None:
        raise ArgumentError(
            f'no patch has a projection of {threshold:g} on the leading eigenvector; the largest is '
            f'{max(side.max() for side in sides):.3g}: lower the threshold'
        )
    mask = (projection > 0) & (projection >= threshold)
    colours = np.zeros((len(patches), 3))
    colours[mask] = to_unit(components(patches[mask], 3))
    return Foreground(*(_unstack(values, shapes) for values in (projection, mask, colours)))


def first_components(features: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the first component, and the next three as a colour, of all patches of several images (Figures 6 and 9).

    Arguments, scales and errors are as in :func:`remove_background`. The result is, per image, the first component
    (h, w) and the colours (h, w, 3), from 0 to 1.
    """
    patches, shapes = _stack(features)
    grey = to_unit(leading_component(patches, shapes)[:, None])[:, 0]
    colours = to_unit(components(patches, 4)[:, 1:])
    return _unstack(grey, shapes), _unstack(colours, shapes)


def leading_component(patches: np.ndarray, shapes: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return <u_0, z> of (n, d) patches that fill the grids ``shapes``, (n,), with the sign described above."""
    projection = components(patches, 1)[:, 0]
    corners = np.concatenate([grid[np.ix_([0, -1], [0, -1])].ravel() for grid in _unstack(projection, shapes)])
    return -projection if corners.mean() > projection.mean() else projection


def components(patches: np.ndarray, number: int) -> np.ndarray:
    """Return projections of (n, d) patches on the leading eigenvectors of Z Z^T, (n, number) float64; see the module.

    A column is 0 where the patches, rounded to single precision, have fewer dimensions.
    """
    patches = patches.astype(np.float64)
    values, vectors = np.linalg.eigh(patches.T @ patches)
    values, vectors = values[::-1][:number], vectors[:, ::-1][:, :number]
    exists = values > values[0] * max(patches.shape) * np.finfo(np.float32).eps ** 2
    found = patches @ vectors[:, exists]
    peaks = np.take_along_axis(found, np.abs(found).argmax(0)[None], axis=0)
    projections = np.zeros((len(patches), number))
    projections[:, np.flatnonzero(exists)] = found * np.sign(peaks)
    return projections


def to_unit(columns: np.ndarray) -> np.ndarray:
    """Scale each column from 0 to 1; a constant column becomes 1, and a column of zeros stays."""
    low, high = columns.min(0), columns.max(0)
    varies = high - low > 1e-6 * np.abs(columns).max(0)  # below that, features in single precision are equal
    return np.where(varies, (columns - low) / np.where(varies, high - low, 1), columns.any(0))


def foreground_figure(
    images: Sequence[np.ndarray],
    colours: Sequence[np.ndarray],
    title: str | None = None,
    patch_size: tuple[int, int] | None = None,
    columns: int = 8,
) -> Figure:
    """Draw images, (H, W, 3) uint8 each, and below each of them the colours of its patches, (h, w, 3) (Figure 3).

    ``columns`` is the largest number of images in a row, ``patch_size`` as for :func:`draw_tokens`.
    """
    columns = min(columns, len(images))
    sizes = []
    for row in range(0, len(images), columns):  # two rows, each as high as the highest of its images
        shapes = [image.shape[:2] for image in images[row : row + columns]]
        sizes += 2 * [max(shapes, key=lambda size: size[0] / size[1])]
    figure, axes = picture_grid(sizes, columns, 1.4, title)
    for number, (image, colour) in enumerate(zip(images, colours)):
        row, column = divmod(number, columns)
        axes[2 * row, column].imshow(image)
        draw_tokens(axes[2 * row + 1, column], colour, image.shape[:2], patch_size)
    return figure


def layers_figure(
    images: Sequence[np.ndarray],
    first: Sequence[Sequence[np.ndarray]],
    colours: Sequence[Sequence[np.ndarray]],
    layers: Sequence[int],
    title: str | None = None,
    patch_size: tuple[int, int] | None = None,
) -> Figure:
    """Draw two rows per image, a column per layer: the first component, and the next three (Figure 9).

    ``first`` (h, w) and ``colours`` (h, w, 3) are per layer and image, from 0 to 1; the rest as in
    :func:`foreground_figure`.
    """
    sizes = [image.shape[:2] for image in images for _ in 'ab']
    names = ['component 1', 'components 2-4'] * len(images)
    figure, axes = picture_grid(sizes, 1 + len(layers), 1.1, title, names)
    for number, image in enumerate(images):
        axes[2 * number, 0].imshow(image)
        for column in range(len(layers)):
            above, below = axes[2 * number : 2 * number + 2, column + 1]
            draw_tokens(above, first[column][number], image.shape[:2], patch_size, cmap='gray', vmin=0, vmax=1)
            draw_tokens(below, colours[column][number], image.shape[:2], patch_size)
    for axis, layer in zip(axes[0, 1:], layers):
        axis.set_title(f'layer {layer}', fontsize=8)
    return figure


def _stack(features: Sequence[np.ndarray]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    patches = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in features])
    if not np.isfinite(patches).all():
        raise ArgumentError('the features hold NaN or inf; check the checkpoint')
    return patches, [grid.shape[:2] for grid in features]


def _unstack(values: np.ndarray, shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    parts = np.split(values, np.cumsum([h * w for h, w in shapes])[:-1])
    return [part.reshape(*shape, *values.shape[1:]) for part, shape in zip(parts, shapes)]

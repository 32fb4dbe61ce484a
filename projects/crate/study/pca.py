"""Patches coloured by their principal components (arXiv 2308.16271, Appendix B.2; Figures 3, 6, 9).

Everywhere the matrix of features Z (d x n, one column for each patch of all images) is taken as it is, not centred: the
components are projections <u_i, z> on the eigenvectors u_0, u_1, ... of Z Z^T, by falling eigenvalue.

An eigenvector has no sign of its own, and the paper chooses none. Here u_0, which tells foreground from background,
has the one that puts the corners of the images below the average: as MaskCut, this takes corners for background. The
others, which are colours, have the one that makes the projection of largest magnitude positive (of several, the first).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError


@dataclass(frozen=True)
class Foreground:
    """Patches of several images after the removal of the background; lists have an entry per image.

    Attributes:
        projections: <u_0, z>, (h, w).
        masks: What is left, (h, w) bool.
        colours: (h, w, 3) from 0 to 1, black where the background was.
    """

    projections: list[np.ndarray]
    masks: list[np.ndarray]
    colours: list[np.ndarray]


def remove_background(features: Sequence[np.ndarray], threshold: float = 12.0, flip: bool = False) -> Foreground:
    """Colours of the foreground of several images, the same colour for the same part (Figure 3).

    The foreground is where <u_0, z> > 0 and >= ``threshold``. If no patch is there, u_0 has the other sign. Of the
    foreground alone, red, green and blue are the first three components, each scaled from its least to its largest
    value over all images. A component that does not vary is 1; a component that does not exist, since the foreground
    has fewer dimensions, is 0.

    Args:
        features: (h, w, d) per image; grids may differ.
        threshold: Its scale is that of the features. The paper's 12 is for its own models.
        flip: Take the other sign of u_0, where the rule for it errs.

    Raises:
        ValueError: No patch reaches the threshold, or the features hold NaN or inf.
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
    return Foreground(_unstack(projection, shapes), _unstack(mask, shapes), _unstack(colours, shapes))


def first_components(features: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first component, and the next three as a colour, of all patches of several images (Figures 6 and 9).

    Each component is scaled from its least to its largest value over all images; see :func:`remove_background` for
    components that do not vary or do not exist.

    Args:
        features: (h, w, d) per image; grids may differ.

    Returns:
        Per image, the first component (h, w) and the colours (h, w, 3), from 0 to 1.

    Raises:
        ValueError: The features hold NaN or inf.
    """
    patches, shapes = _stack(features)
    grey = to_unit(leading_component(patches, shapes)[:, None])[:, 0]
    colours = to_unit(components(patches, 4)[:, 1:])
    return _unstack(grey, shapes), _unstack(colours, shapes)


def leading_component(patches: np.ndarray, shapes: Sequence[tuple[int, int]]) -> np.ndarray:
    """<u_0, z> of (n, d) patches that fill the grids ``shapes``, (n,), with the sign that the module describes."""
    projection = components(patches, 1)[:, 0]
    corners = np.concatenate([grid[np.ix_([0, -1], [0, -1])].ravel() for grid in _unstack(projection, shapes)])
    return -projection if corners.mean() > projection.mean() else projection


def components(patches: np.ndarray, number: int) -> np.ndarray:
    """Projections of (n, d) patches on the leading eigenvectors of their d x d matrix Z Z^T; see the module.

    Returns:
        (n, number) float64; a column is 0 where the patches, rounded to single precision, have fewer dimensions.
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
    """Each column scaled from 0 to 1; a constant one becomes 1, and one of zeros stays."""
    low, high = columns.min(0), columns.max(0)
    varies = high - low > 1e-6 * np.abs(columns).max(0)  # below that, features in single precision are equal
    return np.where(varies, (columns - low) / np.where(varies, high - low, 1), columns.any(0))


def _stack(features: Sequence[np.ndarray]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """All patches (n, d), and the grid of each image."""
    patches = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in features])
    if not np.isfinite(patches).all():
        raise ArgumentError('the features hold NaN or inf; check the checkpoint')
    return patches, [grid.shape[:2] for grid in features]


def _unstack(values: np.ndarray, shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """What belongs to each image, on its grid."""
    parts = np.split(values, np.cumsum([h * w for h, w in shapes])[:-1])
    return [part.reshape(*shape, *values.shape[1:]) for part, shape in zip(parts, shapes)]

"""MaskCut as published: dense matrices of doubles and a full eigenproblem every round.

It shares no code with :mod:`projects.crate.maskcut`. The tests use it as an oracle, the benchmark as an alternative.
"""

import numpy as np
import scipy.linalg
from scipy import ndimage

EPS = 1e-5


def affinity(features: np.ndarray, tau: float) -> np.ndarray:
    """Return the graph (N, N) of (C, N): 1 where the cosine exceeds tau, else eps; a zero feature has cosine 0."""
    lengths = np.linalg.norm(features, axis=0)
    units = features / np.where(lengths > 0, lengths, 1)
    return np.where(units.T @ units > tau, 1.0, EPS)


def eigenvectors(A: np.ndarray, subset: tuple[int, int] | None = (1, 2)) -> tuple[np.ndarray, np.ndarray]:  # noqa: N803
    """Return eigenvalues mu, ascending, and eigenvectors of (D - A) x = mu D x, from ``subset[0]`` to ``subset[1]``."""
    D = np.diag(A.sum(1))
    return scipy.linalg.eigh(D - A, D, subset_by_index=subset)


def peak_positive(x: np.ndarray) -> np.ndarray:
    """Return the eigenvector with the sign that makes its entry of largest magnitude positive."""
    return x * np.sign(x[np.abs(x).argmax()])


def bipartition(x: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the part of the grid (h, w) that holds the object."""
    front = (x > x.mean()).reshape(grid)
    seed = np.abs(x).argmax()
    corners = sum(front[i, j] for i in (0, -1) for j in (0, -1))
    if corners >= 3 or not front.flat[seed]:
        front, seed = ~front, x.argmin()
    else:
        seed = x.argmax()
    parts, _ = ndimage.label(front)
    return parts == parts.flat[seed]


def dense_maskcut(
    features: np.ndarray,
    grid: tuple[int, int],
    tau: float = 0.15,
    num_masks: int = 3,
) -> np.ndarray:
    """Return masks (num_masks, h, w) bool for (C, h * w), each without the tokens of the earlier masks."""
    features = features.copy()
    masks: list[np.ndarray] = []
    for number in range(num_masks):
        x = peak_positive(eigenvectors(affinity(features, tau))[1][:, 0])
        mask = bipartition(x, grid)
        if number > 0:
            previous = masks[-1]
            if (mask & previous).sum() > 0.5 * (mask | previous).sum() or mask.mean() <= 0.01:
                mask = np.zeros_like(mask)
        features[:, mask.ravel()] = 0
        masks.append(mask)
    return np.stack([mask & ~np.any(masks[:i], axis=0) for i, mask in enumerate(masks)])

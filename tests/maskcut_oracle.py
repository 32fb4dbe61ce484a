"""MaskCut by dense linear algebra, in the words of the papers and independent of the project's code."""

import numpy as np
import scipy.linalg
from scipy import ndimage

EPS = 1e-5


def affinity(features, tau):
    """(C, N) -> (N, N): 1 where the cosine exceeds tau, else eps; a zero feature has cosine 0 with everything."""
    lengths = np.linalg.norm(features, axis=0)
    units = features / np.where(lengths > 0, lengths, 1)
    return np.where(units.T @ units > tau, 1.0, EPS)


def spectrum(features, tau):
    """All eigenvalues and eigenvectors of (D - A) x = mu D x, ascending."""
    A = affinity(features, tau)
    D = np.diag(A.sum(1))
    return scipy.linalg.eigh(D - A, D)


def peak_positive(x, _round=0):
    return x * np.sign(x[np.abs(x).argmax()])


def maskcut(features, grid, tau, num_masks, orient=peak_positive):
    """(num_masks, h, w) bool, each without the tokens of the earlier ones."""
    features = features.astype(np.float64).copy()
    masks, previous = [], None
    for number in range(num_masks):
        x = orient(spectrum(features, tau)[1][:, 1], number)
        mask = bipartition(x, grid)
        if previous is not None:
            iou = (mask & previous).sum() / (mask | previous).sum()
            if iou > 0.5 or mask.mean() <= 0.01:
                mask = np.zeros_like(mask)
        features[:, mask.ravel()] = 0
        previous = mask
        masks.append(mask)
    union = np.zeros(grid, dtype=bool)
    for mask in masks:
        mask &= ~union
        union |= mask
    return np.stack(masks)


def bipartition(x, grid):
    front = (x > x.mean()).reshape(grid)
    seed = np.abs(x).argmax()
    corners = sum(front[i, j] for i in (0, -1) for j in (0, -1))
    if corners >= 3 or not front.flat[seed]:
        front, seed = ~front, x.argmin()
    else:
        seed = x.argmax()
    parts, _ = ndimage.label(front)
    return parts == parts.flat[seed]

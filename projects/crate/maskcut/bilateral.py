"""The fast bilateral solver (Barron & Poole, arXiv 1511.03296), with the settings of TokenCut (arXiv 2202.11539)."""

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from .postprocess import MIN_IOU

# sides of a cell of the grid: pixels across and down, and levels of brightness and of the two colours
SPATIAL, LUMA, CHROMA = 16, 16, 8
SMOOTHNESS = 256.0  # lambda
CONFIDENCE = 0.999  # of every pixel of the target
BALANCING_STEPS, MAX_STEPS, TOLERANCE = 10, 25, 1e-5
MIN_DIAGONAL = 1e-5
YUV = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])  # ITU-R BT.601


def solve(target: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the map that is close to ``target`` and smooth between pixels that are close and of like colour.

    x = argmin  lambda / 2 sum_ij W_ij (x_i - x_j)^2 + c sum_i (x_i - t_i)^2      (arXiv 1511.03296, Eq. 1)

    W is the bistochastic form of the bilateral affinity. All pixels in a cell of the grid (x, y, Y, U, V) share a
    value, so W = S^T D_n B D_n S: S adds up the pixels of each cell, B blurs over neighbouring cells. The system
    (lambda (D_m - D_n B D_n) + diag(S c)) y = S (c t) is solved by conjugate gradients, and x = S^T y.

    Args:
        target: (H, W), t.
        image: (H, W, 3) uint8, RGB.

    Returns:
        (H, W) float64.
    """
    cells, cell = _cells(image)
    blur = _blur(cells)
    size = np.bincount(cell).astype(np.float64)  # m = S 1
    scale = np.ones_like(size)  # n, such that n B n = m
    for _ in range(BALANCING_STEPS):
        scale = np.sqrt(scale * size / (blur @ scale))
    size = scale * (blur @ scale)
    weight = CONFIDENCE * np.bincount(cell)
    system = SMOOTHNESS * (sparse.diags(size) - sparse.diags(scale) @ blur @ sparse.diags(scale)) + sparse.diags(weight)
    right = CONFIDENCE * np.bincount(cell, target.ravel().astype(np.float64))
    jacobi = sparse.diags(1 / np.maximum(system.diagonal(), MIN_DIAGONAL))
    values, _ = cg(system, right, x0=right / weight, rtol=TOLERANCE, maxiter=MAX_STEPS, M=jacobi)
    return values[cell].reshape(target.shape)


def bilateral_mask(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Let a mask follow the edges of the image: where :func:`solve` exceeds 1/2, holes filled, of it the largest part.

    Departure from TokenCut: a result whose IoU with ``mask`` is below 0.5 is dropped for ``mask`` itself.

    Args:
        mask: (H, W) bool.
        image: (H, W, 3) uint8, RGB.
    """
    parts, number = ndimage.label(ndimage.binary_fill_holes(solve(mask, image) > 0.5))
    if not number:
        return mask
    refined = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    return refined if (refined & mask).sum() >= MIN_IOU * (refined | mask).sum() else mask


def _cells(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the occupied cells (V, 5) of the grid in order, and the number of each pixel's cell (H W,)."""
    rows, columns = np.indices(image.shape[:2])
    luma, *chroma = np.moveaxis(image @ YUV.T + [0, 128, 128], -1, 0)
    place = [columns // SPATIAL, rows // SPATIAL, luma // LUMA, *(colour // CHROMA for colour in chroma)]
    cells, cell = np.unique(np.stack(place, -1).reshape(-1, 5).astype(np.int64), axis=0, return_inverse=True)
    return cells, cell.ravel()


def _blur(cells: np.ndarray) -> sparse.csr_matrix:
    """Return B (V, V): 2 for each dimension on the diagonal, 1 for occupied neighbours."""
    spans = cells.max(0) + 2  # room for a neighbour: no number stands for two cells
    numbers = np.ravel_multi_index([*cells.T], spans)
    blur = 2.0 * cells.shape[1] * sparse.identity(len(cells), format='csr')
    for step in np.cumprod([1, *spans[:0:-1]]):
        at = np.searchsorted(numbers, numbers + step).clip(max=len(numbers) - 1)
        here = np.nonzero(numbers[at] == numbers + step)[0]
        edges = sparse.csr_matrix((np.ones(len(here)), (here, at[here])), shape=blur.shape)
        blur = blur + edges + edges.T
    return blur

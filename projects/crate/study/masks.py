"""Masks of MaskCut, and images with masks drawn over them."""

from collections.abc import Sequence

import mmcv
import numpy as np
import torch

from ..maskcut import maskcut
from ..maskcut.postprocess import image_masks

# RGB of the first mask, the second, ...; after the last colour the first one follows
COLOURS = np.array([[228, 26, 28], [55, 126, 184], [255, 215, 0], [77, 175, 74], [152, 78, 163], [255, 127, 0]])
OPACITY = 0.6


def cut_masks(features: np.ndarray, patch_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the masks (m, H, W) bool that MaskCut finds in the features (h, w, d) of an image of ``size`` (H, W)."""
    h, w, _ = features.shape
    masks, _ = maskcut(torch.from_numpy(features).flatten(0, 1).T, (h, w))
    return image_masks(masks.numpy(), patch_size, size, size)


def painted(image: np.ndarray, masks: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
    """Return an image (H, W, 3) uint8 RGB under its masks (n, H, W) bool; see :func:`mask_grid`."""
    result = image.copy()
    for number, mask in enumerate(masks):
        result[mask] = (1 - opacity) * image[mask] + opacity * COLOURS[number % len(COLOURS)]
    return result


def mask_grid(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    columns: int = 8,
    cell: int = 160,
    gap: int = 4,
    opacity: float = OPACITY,
) -> np.ndarray:
    """Return images under their masks, row by row in square cells on white: (height, width, 3) uint8 RGB.

    Args:
        images: (H, W, 3) uint8 RGB each; sizes may differ. At least one.
        masks: (n, H, W) bool each, of the size of its image; n may be 0. Where masks overlap, the last one is seen.
        columns: Most images in a row.
        cell: Longer side of an image in the grid, in pixels.
        gap: White pixels right of and below each cell.
        opacity: Opacity of a mask, from 0 to 1.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = np.full((rows, columns, cell + gap, cell + gap, 3), 255, dtype=np.uint8)
    for number, (image, found) in enumerate(zip(images, masks)):
        small = mmcv.imrescale(painted(image, found, opacity), (cell, cell))
        grid[number // columns, number % columns, : small.shape[0], : small.shape[1]] = small
    return grid.swapaxes(1, 2).reshape(rows * (cell + gap), columns * (cell + gap), 3)

"""Attention under noise (arXiv 2308.16271, Figures 11 and 12); drawn by ``attention_figure``."""

from collections.abc import Sequence

import numpy as np

from ..errors import ArgumentError
from .observer import Observer


def add_noise(image: np.ndarray, std: float, share: float, seed: int = 0) -> np.ndarray:
    """Return an image with Gaussian noise on a random part of its pixels, clipped to 0..255.

    ``image`` is (H, W, 3) uint8. ``std`` is in grey levels (0 to 255), and each channel has its own noise. ``share`` is
    that of the noisy pixels, from 0 to 1. With one seed, more noise is more of the same: a larger share holds the
    pixels of a smaller one, and a larger ``std`` scales the same numbers.
    """
    if not 0 <= std < np.inf or not 0 <= share <= 1:
        raise ArgumentError(f'noise needs std >= 0 and a share from 0 to 1; not std {std:g} and share {share:g}')
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    chosen = rng.permutation(height * width).reshape(height, width) < round(share * height * width)
    noise = std * rng.standard_normal(image.shape) * chosen[..., None]
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def noise_grid(
    observer: Observer,
    image: np.ndarray,
    layer: int = -1,
    stds: Sequence[float] = (10.0, 25.0, 50.0, 75.0),
    shares: Sequence[float] = (0.1, 0.25, 0.5, 0.75),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return attention of all heads for every strength of the noise (S) and every share of noisy pixels (P).

    Arguments as in :func:`add_noise`. The noisy images are (S, P, H, W, 3) uint8, and the maps (S, P, K, h, w), each
    with sum 1.
    """
    images = [add_noise(image, std, share, seed) for std in stds for share in shares]
    maps = [observer.attention(noisy, [layer])[layer] for noisy in images]
    return tuple(np.stack(each).reshape(len(stds), len(shares), *each[0].shape) for each in (images, maps))

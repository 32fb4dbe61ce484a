"""Attention maps of all heads (arXiv 2308.16271, Figures 1, 7, 13, 14)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..evaluation.best_head import binarise
from .observer import Observer


@dataclass(frozen=True)
class HeadMaps:
    """What the heads of one layer look at in one image.

    Attributes:
        path: Of the image.
        image: (H, W, 3) uint8 RGB.
        maps: Attention of [CLS] to the patches, (K, h, w), each with sum 1.
        masks: The maps binarised, (K, h, w) bool.
    """

    path: Path
    image: np.ndarray
    maps: np.ndarray
    masks: np.ndarray


def attention_of_heads(
    observer: Observer,
    images: Iterable[tuple[Path, np.ndarray]],
    layer: int = -1,
    rule: str = 'mass',
    share: float = 0.6,
) -> Iterator[HeadMaps]:
    """Maps and masks of every head, image by image.

    Args:
        observer: The backbone.
        images: Path and image (H, W, 3) uint8 RGB each; sizes may differ.
        layer: 0-based; negative ones count from the end.
        rule: How a map becomes a mask, 'mass' or 'top' (:func:`projects.crate.evaluation.binarise`).
        share: Of the mass, or of the patches.

    Raises:
        ValueError: Unknown rule, or share outside (0, 1].
    """
    for path, image in images:
        maps = observer.attention(image, [layer])[layer]
        yield HeadMaps(path, image, maps, binarise(torch.from_numpy(maps), rule, share).numpy())


def pages(items: Iterable[HeadMaps], size: int) -> Iterator[list[HeadMaps]]:
    """``size`` after ``size`` of them, the rest at the end; one page is in memory at a time."""
    items = iter(items)
    while page := list(islice(items, size)):
        yield page

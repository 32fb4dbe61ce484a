"""Attention maps of all heads (arXiv 2308.16271, Figures 1, 7, 13, 14)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from ..evaluation import binarise
from .drawing import draw_tokens, drawable, picture_grid
from .observer import Observer

COLOURS = 'inferno'


@dataclass(frozen=True)
class HeadMaps:
    """Attention of the heads of one layer in one image."""

    path: Path
    image: np.ndarray  # (H, W, 3) uint8 RGB
    maps: np.ndarray  # attention of [CLS] to the patches, (K, h, w), each with sum 1
    masks: np.ndarray  # the maps as masks, (K, h, w) bool


def attention_of_heads(
    observer: Observer,
    images: Iterable[tuple[Path, np.ndarray]],
    layer: int = -1,
    rule: str = 'mass',
    share: float = 0.6,
) -> Iterator[HeadMaps]:
    """Yield maps and masks of every head for paths and images (H, W, 3) uint8 RGB, whose sizes may differ.

    ``rule`` and ``share`` turn a map into a mask as in :func:`projects.crate.evaluation.binarise`.
    """
    for path, image in images:
        maps = observer.attention(image, [layer])[layer]
        yield HeadMaps(path, image, maps, binarise(torch.from_numpy(maps), rule, share).numpy())


def pages(items: Iterable[HeadMaps], size: int) -> Iterator[list[HeadMaps]]:
    """Yield lists of ``size`` items, and the rest at the end; one list is in memory at a time."""
    items = iter(items)
    while page := list(islice(items, size)):
        yield page


def attention_figure(
    images: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    outlines: Sequence[np.ndarray] | None = None,
    masks: Mapping[str, Sequence[np.ndarray]] | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
    patch_size: tuple[int, int] | None = None,
    cell: float = 1.1,
) -> Figure:
    """Draw one row per image: the image, then every head of each group of maps; and the scale of the colours.

    Images are (H, W, 3) uint8. ``maps`` are (K, h, w) per image, by title of a group (may be empty). Each map is scaled
    to its own maximum. White lines show ``masks``, (K, h, w) bool, over their maps, and ``outlines``, a mask (H, W) per
    image, over every map. The rest is as in :func:`picture_grid` and :func:`draw_tokens`.
    """
    columns = 1 + sum(len(group[0]) for group in maps.values())
    figure, axes = picture_grid([image.shape[:2] for image in images], columns, cell, title, names)
    for row, image in enumerate(images):
        size = image.shape[:2]
        axes[row, 0].imshow(image)
        heads = [(name, head) for name, group in maps.items() for head in range(len(group[row]))]
        for axis, (name, head) in zip(axes[row, 1:], heads):
            values = maps[name][row][head]
            draw_tokens(axis, values, size, patch_size, cmap=COLOURS, vmin=0, vmax=values.max())
            if masks is not None:
                _draw_outline(axis, to_pixels(masks[name][row][head], size, patch_size))
            if outlines is not None:
                _draw_outline(axis, outlines[row])
            if row == 0:
                axis.set_title(drawable(f'{name}\nhead {head}'.strip()), fontsize=8)
    axes[0, 0].set_title('image', fontsize=8)
    scale = figure.colorbar(ScalarMappable(cmap=COLOURS), ax=axes, fraction=0.02, pad=0.01, aspect=25)
    scale.set_ticks([0, 1], labels=['0', "each map's\nmaximum"], fontsize=6)
    scale.outline.set_visible(False)
    return figure


def attention_picture(images: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> np.ndarray:
    """Return the figure of images and their maps (K, h, w) as pixels, (height, width, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(attention_figure(images, {'': maps}))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_outline(axis: Axes, mask: np.ndarray) -> None:
    if mask.any() and min(mask.shape) > 1:  # matplotlib draws no contour in a line of pixels
        axis.contour(mask, levels=[0.5], colors='white', linewidths=0.7)


def to_pixels(tokens: np.ndarray, size: tuple[int, int], patch_size: tuple[int, int] | None) -> np.ndarray:
    """Return a map (h, w) by pixel, (H, W); see :func:`draw_tokens`."""
    rows, columns = (
        np.arange(pixels) * count // pixels if patch is None else np.arange(pixels) // patch
        for pixels, count, patch in zip(size, tokens.shape, patch_size or (None, None))
    )
    return tokens[rows[:, None], columns]

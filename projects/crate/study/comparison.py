"""The same images, seen by several models."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .attention import attention_figure
from .drawing import draw_tokens, drawable, picture_grid
from .masks import cut_masks, painted
from .observer import Observer
from .pca import first_components


def comparison_figure(
    images: Sequence[np.ndarray], columns: Mapping[str, tuple[Sequence[np.ndarray], tuple[int, int]]]
) -> Figure:
    """Draw one row per image (H, W, 3) uint8: the image, then one picture per model.

    ``columns`` are, by name, a picture (h, w, 3) per image, and the (height, width) of one of its cells in pixels.
    """
    figure, axes = picture_grid([image.shape[:2] for image in images], 1 + len(columns), cell=1.6)
    for row, image in enumerate(images):
        axes[row, 0].imshow(image)
        for axis, (pixels, cell) in zip(axes[row, 1:], columns.values()):
            draw_tokens(axis, pixels[row], image.shape[:2], cell)
    for axis, name in zip(axes[0], ['image', *columns]):
        axis.set_title(drawable(name), fontsize=8)
    return figure


def masks_figure(images: Sequence[np.ndarray], masks: Mapping[str, Sequence[np.ndarray]]) -> Figure:
    """Draw images under the masks of each model: name -> (m, H, W) bool per image."""
    columns = {name: ([painted(*pair) for pair in zip(images, found)], (1, 1)) for name, found in masks.items()}
    return comparison_figure(images, columns)


def components_figure(
    images: Sequence[np.ndarray], features: Mapping[str, tuple[Sequence[np.ndarray], tuple[int, int]]]
) -> Figure:
    """Draw the first principal component, and the next three as a colour, of each image alone.

    ``features`` are, by name of the model, (h, w, d) per image, and the (height, width) of a patch in pixels.
    """
    columns = {}
    for name, (grids, patch) in features.items():
        found = [first_components([grid]) for grid in grids]
        columns[f'{name}, component 1'] = [grey[0][..., None].repeat(3, axis=2) for grey, _ in found], patch
        columns[f'{name}, components 2-4'] = [colours[0] for _, colours in found], patch
    return comparison_figure(images, columns)


def last_layer_figures(observers: Mapping[str, Observer], images: Sequence[np.ndarray]) -> dict[str, Figure]:
    """Draw 'attention' of every head, 'masks' of MaskCut, and principal 'components' in the last layer of each model.

    ``observers`` are trained backbones by name, ``images`` (H, W, 3) uint8 RGB each.
    """
    attention, masks, features = {}, {}, {}
    for name, observer in observers.items():
        last, patch = observer.num_layers - 1, observer.patch_size
        attention[name] = [observer.attention(image, [last])[last] for image in images]
        grids = [observer.features(image, [last])[last] for image in images]
        masks[name] = [cut_masks(grid, patch, image.shape[:2]) for grid, image in zip(grids, images)]
        features[name] = grids, patch
    sizes = {observer.patch_size for observer in observers.values()}
    patch_size = sizes.pop() if len(sizes) == 1 else None
    return dict(
        attention=attention_figure(images, attention, patch_size=patch_size),
        masks=masks_figure(images, masks),
        components=components_figure(images, features),
    )

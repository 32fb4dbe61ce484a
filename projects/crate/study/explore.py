"""One image, explored: what a layer of a backbone sees in it, as numbers and as pictures."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch

from ..coco import coco_annotation
from ..errors import ArgumentError
from ..maskcut import maskcut
from ..maskcut.postprocess import image_masks
from ..models.features import choose_facet
from ..models.library_vit import load_vit
from .attention import COLOURS, to_pixels
from .observer import Observer
from .pca import first_components

MAX_TOKENS = 6000  # of one image: attention and MaskCut then take seconds
FRAME = (0, 255, 255)  # colour around the patch that attends


@dataclass(frozen=True)
class View:
    """Attention, components and masks of one layer, for an image of (H, W) pixels and (h, w) patches."""

    size: tuple[int, int]  # (H, W)
    patch_size: tuple[int, int]  # (height, width) in pixels
    attention: np.ndarray  # of [CLS] or of a patch to the patches, (K, h, w), each with sum 1
    place: tuple[int, int] | None  # (row, column) of the patch that attends; None: [CLS]
    component: np.ndarray  # first principal component, (h, w) from 0 to 1
    colours: np.ndarray  # the next three, (h, w, 3) from 0 to 1
    masks: np.ndarray  # of MaskCut, on the token grid, (n, h, w) bool; a mask may be empty
    eigenvectors: np.ndarray  # (n, h, w)

    def heat(self, tokens: np.ndarray) -> np.ndarray:
        """Return values (h, w) as colours over the image, (H, W, 3) uint8, scaled from their least to their largest."""
        spread = np.ptp(tokens)
        unit = (tokens - tokens.min()) / spread if spread else np.zeros_like(tokens)
        return self.colour(matplotlib.colormaps[COLOURS](unit)[..., :3])

    def colour(self, tokens: np.ndarray) -> np.ndarray:
        """Return colours (h, w, 3) from 0 to 1 by pixel, (H, W, 3) uint8."""
        return to_pixels((255 * tokens).round().astype(np.uint8), self.size, self.patch_size)

    def enlarge(self, picture: np.ndarray, side: int) -> np.ndarray:
        """Return a picture (H, W, 3) of at most ``side`` pixels with sharp patches, and a frame around ``place``."""
        factor = max(1, side // max(self.size))
        large = picture.repeat(factor, 0).repeat(factor, 1)
        if self.place is not None:
            patches = zip(self.place, (factor * step for step in self.patch_size))
            patch = large[tuple(slice(index * step, (index + 1) * step) for index, step in patches)]
            inside = patch[1:-1, 1:-1].copy()
            patch[:] = FRAME
            patch[1:-1, 1:-1] = inside
        return large

    def masks_of(self, size: tuple[int, int]) -> np.ndarray:
        """Return the masks that are not empty on an image that was resized from ``size``: (m, *size) bool."""
        return image_masks(self.masks, self.patch_size, self.size, size)


def look(
    observer: Observer,
    image: np.ndarray,
    layer: int = -1,
    facet: str | None = None,
    tau: float = 0.15,
    num_masks: int = 3,
    place: Sequence[float] | None = None,
) -> View:
    """Return what a layer sees in an image (H, W, 3) uint8 RGB, from one forward pass.

    ``facet``, ``tau`` and ``num_masks`` are those of :class:`projects.crate.models.MaskCutDetector`; the facet is also
    that of the principal components. ``place`` is (y, x), from 0 to 1, in the patch whose attention is returned; None:
    attention of [CLS]. Too many patches, a backbone without [CLS], and a layer with windows are ArgumentErrors.
    """
    size = image.shape[:2]
    h, w = observer.grid(size)
    if h * w > MAX_TOKENS:
        raise ArgumentError(f'{h} x {w} patches are more than {MAX_TOKENS:,}: make the image smaller')
    facet = choose_facet(observer.backbone, facet)
    seen = observer.observe([image], [layer], outputs=facet == 'token')
    if place is None:
        patch, maps = None, seen[layer].cls_attention()[0]
    else:
        patch = tuple(
            min(int(part * side / step), n - 1) for part, side, step, n in zip(place, size, observer.patch_size, (h, w))
        )
        row, skipped = patch[0] * w + patch[1], seen[layer].num_extra_tokens
        maps = seen[layer].attention(slice(skipped + row, skipped + row + 1))[0, :, 0, skipped:]
        maps = maps / maps.sum(-1, keepdim=True)
    features = seen.patches([layer], facet)[0].float()
    component, colours = first_components([features.unflatten(0, (h, w)).cpu().numpy()])
    with torch.no_grad():
        masks, vectors = maskcut(features.T, (h, w), tau, num_masks)
    return View(
        size=size,
        patch_size=observer.patch_size,
        attention=maps.float().unflatten(-1, (h, w)).cpu().numpy(),
        place=patch,
        component=component[0],
        colours=colours[0],
        masks=masks.cpu().numpy(),
        eigenvectors=vectors.cpu().numpy(),
    )


class SharedObserver:
    """A backbone that several threads look through, one at a time: hooks sit on the backbone during a forward pass."""

    def __init__(self, observer: Observer) -> None:
        self.num_layers, self.num_heads = observer.num_layers, observer.num_heads
        self._observer, self._lock = observer, threading.Lock()

    @classmethod
    def from_library(cls, name: str) -> 'SharedObserver':
        """Load a pretrained ViT: 'timm/NAME', 'hf/NAME' or a folder; see :func:`projects.crate.models.load_vit`."""
        vit = load_vit(name)
        return cls(Observer(vit.module, dict(mean=vit.mean, std=vit.std, to_rgb=True)))

    def look(self, image: np.ndarray, *args, **options) -> View:
        """Look at an image; arguments are those of :func:`look`."""
        with self._lock:
            return look(self._observer, image, *args, **options)


def coco_masks(file_name: str, masks: np.ndarray) -> dict:
    """Return the masks (n, H, W) bool of one image as the content of a COCO file with the category 'object'."""
    annotations = [dict(coco_annotation(mask, label=0), id=number, image_id=1) for number, mask in enumerate(masks, 1)]
    image = dict(id=1, file_name=file_name, height=masks.shape[1], width=masks.shape[2])
    return dict(images=[image], annotations=annotations, categories=[dict(id=1, name='object')])

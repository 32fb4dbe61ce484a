"""Masks of MaskCut, and images with masks drawn over them."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from PIL import Image

from ..datasets.loading import LoadImageOrSkip, size_mismatch
from ..errors import UserError
from ..files import atomic, make_folder
from ..maskcut import maskcut
from ..maskcut.postprocess import image_masks
from ..progress import Progress
from ..pseudo_labels.merge import count_entries
from ..pseudo_labels.parts import read_by_image
from .images import fitted_size

# RGB of the first mask, the second, ...; after the last colour the first one follows. Safe for colour-blind readers
COLOURS = np.array([[228, 26, 28], [55, 126, 184], [255, 215, 0], [102, 204, 255], [51, 0, 153], [102, 0, 0]])
OPACITY = 0.6
JPEG = dict(format='jpeg', quality=90)
FORMATS = {'.jpg': JPEG, '.jpeg': JPEG, '.png': dict(format='png')}


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

    Images are (H, W, 3) uint8 RGB, of any sizes; the masks of each are (n, H, W) bool, n may be 0. Where masks overlap,
    the last one is seen. ``columns`` is the most images in a row, ``cell`` their longer side in pixels, and ``gap`` the
    white pixels right of and below each cell.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = np.full((rows, columns, cell + gap, cell + gap, 3), 255, dtype=np.uint8)
    for number, (image, found) in enumerate(zip(images, masks)):
        small = mmcv.imresize(painted(image, found, opacity), fitted_size(image, cell))
        grid[number // columns, number % columns, : small.shape[0], : small.shape[1]] = small
    return grid.swapaxes(1, 2).reshape(rows * (cell + gap), columns * (cell + gap), 3)


def picture_path(folder: Path, name: str) -> Path:
    """Return the file for the picture of an image: its name below ``folder``, with .png behind an unusual suffix.

    The name may come from a file: a path that leads out of ``folder`` is led back into it.
    """
    parts = [part for part in Path(name).parts if part not in ('..', Path(name).anchor)]
    path = folder.joinpath(*parts)
    return path if path.suffix.lower() in FORMATS else path.with_name(f'{path.name}.png')


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write a picture (H, W, 3) uint8 RGB as the suffix of ``path`` says, whole or not at all; its folder is made."""
    make_folder(path.parent)
    with atomic(path) as part:
        Image.fromarray(picture).save(part, **FORMATS[path.suffix.lower()])


def draw_labels(out: Path, root: Path, folder: Path) -> None:
    """Write a picture of each image of a finished file of pseudo labels, with its masks.

    A picture that is newer than the file is left as it is. So an interrupted command continues.

    Paths in the file ``out`` are relative to ``root``. The pictures go to ``folder``, see :func:`picture_path`.
    """
    finished, (total, _) = out.stat().st_mtime_ns, count_entries(out)
    with Progress('maskcut') as progress:
        progress.say(f'drawing into {folder}')
        progress.begin(total=total, done=0)
        for image, annotations in read_by_image(out):
            path = picture_path(folder, image['file_name'])
            if not path.exists() or path.stat().st_mtime_ns < finished:
                save_picture(_drawn(out, root / image['file_name'], image, annotations), path)
            progress.advance(1)


def _drawn(out: Path, path: Path, image: dict, annotations: list[dict]) -> np.ndarray:
    """Return an image of a COCO file under its masks."""
    from pycocotools.mask import decode  # here: nothing else in this module needs it

    pixels = LoadImageOrSkip(skip=False)(dict(img_path=str(path)))['img'][..., ::-1]
    if pixels.shape[:2] != (image['height'], image['width']):
        raise UserError(size_mismatch(str(path), pixels.shape[:2], (image['height'], image['width']), str(out)))
    return painted(pixels, [decode(one['segmentation']).astype(bool) for one in annotations])

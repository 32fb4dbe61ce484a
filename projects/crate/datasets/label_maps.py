"""Label maps: one image file per photo; each pixel holds the index of a class.

A label map is a palette or grey PNG of exactly the photo's size. mmseg's ``LoadAnnotations`` accepts others too. It
takes the first row of a colour image, and the metrics stretch a map of another size. Both give wrong numbers without a
message; here they are refused by name.
"""

import io
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..files import can_block, printable
from .loading import (
    EXIF_ORIENTATION,
    PILLOW_ERRORS,
    check_pixels,
    own_limit,
    read_shape,
    size_mismatch,
    warn_of_orientation,
)

# Readers scale grey PNGs of so many bits per pixel: with 4 bits, label 1 becomes 17.
SCALED = ('L;2', 'L;4')


class LabelMapError(UserError, ValueError):
    """A label map cannot be used; the message names the file and what is wrong with it."""


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Load the label map of an image as mmseg's ``LoadAnnotations`` does, but refuse a file that is not a label map.

    Use ``dict(type='LoadLabelMap')`` in place of ``LoadAnnotations`` in a pipeline of mmseg, after the image is loaded.
    ``reduce_zero_label`` and ``label_map`` of the data set keep their meaning.

    Args:
        num_classes: Number of classes; then other labels than these and ``ignore_index`` are refused.
        ignore_index: Label of pixels that do not count.
        backend_args: Arguments of mmengine's file backend.

    Raises:
        LabelMapError: See :func:`decode_label_map` and :func:`check_shape`; or a label is not a class.
    """

    def __init__(
        self, num_classes: int | None = None, ignore_index: int = 255, backend_args: dict | None = None
    ) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['seg_map_path']``; set 'gt_seg_map' (H, W) uint8 and add it to 'seg_fields'."""
        if 'seg_map_path' not in results and 'seg_fields' not in results:
            return results  # an image that mmseg's inference functions load: it is of no data set
        path = results['seg_map_path']
        labels = decode_label_map(_read(path, self.backend_args), path)
        check_shape(labels.shape, path, results['ori_shape'], results['img_path'])
        if results.get('reduce_zero_label'):
            labels = np.where(np.isin(labels, (0, 255)), 255, labels - 1)
        if label_map := results.get('label_map'):
            table = np.arange(256)
            table[[*label_map]] = [*label_map.values()]
            labels = table[labels]
        labels = labels.astype(np.uint8)  # -1, for classes that are left out, becomes 255 as in mmseg
        if self.num_classes is not None:
            check_labels(labels, path, self.num_classes, self.ignore_index)
        results['gt_seg_map'] = labels
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


def read_label_map(path: str, photo: str) -> np.ndarray:
    """Return the label map of a photo, (H, W) uint8, from disk.

    Args:
        path: File of the label map.
        photo: File of the photo, which is loaded upright: with its EXIF orientation applied.

    Raises:
        LabelMapError: See :func:`decode_label_map` and :func:`check_shape`; or a file is missing.
    """
    try:
        labels = decode_label_map(_read(path), path)
    except FileNotFoundError as error:
        raise LabelMapError(f'not found: {printable(path)} (is data_root right?)') from error
    check_shape(labels.shape, path, read_shape(photo), photo)
    return labels


def decode_label_map(data: bytes, path: str) -> np.ndarray:
    """Return the label map (H, W) uint8 in the bytes of a file; messages name its path.

    Raises:
        LabelMapError: The file is damaged, not an image, or has too many pixels. It has several channels, lossy
            compression, an EXIF orientation, or pixels that are not labels from 0 to 255.
    """
    name = f'label map {printable(path)}'
    try:
        check_pixels(data)
        with own_limit(), Image.open(io.BytesIO(data)) as image:
            if image.format == 'JPEG':
                raise LabelMapError(f'{name}: JPEG changes labels at the edges of objects; save it as a palette PNG')
            if image.mode == 'L' and image.tile and image.tile[0].args in SCALED:
                raise LabelMapError(
                    f'{name}: grey of 2 or 4 bits, which readers scale to 0 to 255; save it with 8 bits'
                )
            if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
                raise LabelMapError(f'{name}: has an EXIF orientation; turn its pixels, and save it without')
            labels, mode = np.array(image), image.mode
    except LabelMapError:  # is a ValueError, as those of Pillow
        raise
    except UnidentifiedImageError as error:  # its text names an object in memory
        raise LabelMapError(f'{name}: cannot be read as an image') from error
    except PILLOW_ERRORS as error:
        raise LabelMapError(f'{name}: cannot be read: {" ".join(str(error).split())}') from error
    if labels.ndim != 2:
        raise LabelMapError(
            f'{name}: has {labels.shape[2]} channels ({mode}); save it as a palette or grey PNG of labels'
        )
    if labels.dtype.kind not in 'bui' or labels.min() < 0 or labels.max() > 255:
        raise LabelMapError(
            f'{name}: has values from {labels.min()} to {labels.max()}; labels are integers from 0 to 255'
        )
    return labels.astype(np.uint8)


def _read(path: str, backend_args: dict | None = None) -> bytes:
    if can_block(path):
        raise LabelMapError(f'label map {printable(path)}: not a regular file')
    return fileio.get(path, backend_args=backend_args)


def check_shape(shape: Sequence[int], path: str, photo_shape: Sequence[int], photo: str) -> None:
    """Raise if a label map does not lie on its photo, pixel by pixel.

    A map that is turned by 180 degrees, mirrored, or turned on a square photo has the right shape and is accepted. If
    the EXIF orientation of the photo does so, a warning is logged.

    Args:
        shape: (H, W) of the label map.
        path: File of the label map.
        photo_shape: (H, W) of the photo, as loaded.
        photo: File of the photo.

    Raises:
        LabelMapError: The shapes differ. The message says whether the map fits the photo without its EXIF orientation.
    """
    if tuple(shape) != tuple(photo_shape):
        raise LabelMapError(size_mismatch(photo, photo_shape, shape, f'its label map {printable(path)}'))
    warn_of_orientation(photo, photo_shape)


def check_labels(labels: np.ndarray, path: str, num_classes: int, ignore_index: int = 255) -> None:
    """Raise LabelMapError if a label is neither a class (0 to ``num_classes`` - 1) nor ``ignore_index``."""
    wrong = labels[(labels >= num_classes) & (labels != ignore_index)]
    if wrong.size:
        raise LabelMapError(
            f'label map {printable(path)}: label {wrong[0]} is no class of the data set (0 to {num_classes - 1}, '
            f'and {ignore_index} for pixels that do not count)'
        )

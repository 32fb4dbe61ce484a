"""Label maps: one image file per photo, whose pixels hold the index of a class.

A label map is a palette or grey PNG of exactly the photo's size. mmseg's ``LoadAnnotations`` takes others too: the
first row of a colour image, or a map that lies across its photo, which the metrics then stretch. Both give wrong
numbers without a word; here they are refused by name.
"""

import io
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image

from ..errors import UserError
from ..files import can_block, printable
from .loading import EXIF_ORIENTATION, PILLOW_ERRORS, check_pixels, own_limit, read_shape, size_mismatch

# PNGs of so many bits per pixel are scaled by readers: a label 1 of a grey PNG with 4 bits becomes 17.
SCALED = ('L;2', 'L;4')


class LabelMapError(UserError, ValueError):
    """A label map cannot be used; the message names the file and what is wrong with it."""


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """Load the label map of an image, as mmseg's ``LoadAnnotations`` does, and refuse what is none.

    It takes the place of ``LoadAnnotations`` in a pipeline of mmseg, anywhere after the image was loaded: ``dict(
    type='LoadLabelMap')``. Pixels, ``reduce_zero_label`` and ``label_map`` of the data set mean what they mean there.

    Args:
        num_classes: Number of classes. A label that is neither one of them nor ``ignore_index`` is refused then.
        ignore_index: Label of pixels that do not count.
        backend_args: Of mmengine's file backend.

    Raises:
        LabelMapError: See :func:`decode_label_map` and :func:`check_shape`; or a label is no class.
    """

    def __init__(
        self, num_classes: int | None = None, ignore_index: int = 255, backend_args: dict | None = None
    ) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['seg_map_path']``; sets 'gt_seg_map' (H, W) uint8 and adds it to 'seg_fields'."""
        path = results['seg_map_path']
        labels = decode_label_map(_read(path, self.backend_args), path)
        check_shape(labels.shape, path, results['ori_shape'], results['img_path'])
        if results.get('reduce_zero_label'):
            labels = np.where(np.isin(labels, (0, 255)), 255, labels - 1)
        if label_map := results.get('label_map'):
            table = np.arange(256)
            table[[*label_map]] = [*label_map.values()]
            labels = table[labels]
        labels = labels.astype(np.uint8)  # -1, of classes that are left out, becomes 255 as in mmseg
        if self.num_classes is not None:
            check_labels(labels, path, self.num_classes, self.ignore_index)
        results['gt_seg_map'] = labels
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


def read_label_map(path: str, photo: str) -> np.ndarray:
    """Read the label map of a photo from disk.

    Args:
        path: File of the label map.
        photo: File of the photo, which is loaded upright: with its EXIF orientation applied.

    Returns:
        (H, W) uint8.

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
    """Decode a label map.

    Args:
        data: The bytes of the file.
        path: Its name, for messages.

    Returns:
        (H, W) uint8.

    Raises:
        LabelMapError: The file is damaged or no image, or has too many pixels. It has several channels, or was
            compressed with loss, or its pixels are no labels from 0 to 255. It has an EXIF orientation of its own.
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

    A map that was turned by 180 degrees or mirrored, or turned on a square photo, has the right shape: that cannot be
    seen here.

    Args:
        shape: (H, W) of the label map.
        path: Its file.
        photo_shape: (H, W) of the photo, as loaded.
        photo: File of the photo.

    Raises:
        LabelMapError: The shapes differ; the message says if the map fits the photo before its EXIF orientation was
            applied.
    """
    if tuple(shape) != tuple(photo_shape):
        raise LabelMapError(size_mismatch(photo, photo_shape, shape, f'its label map {printable(path)}'))


def check_labels(labels: np.ndarray, path: str, num_classes: int, ignore_index: int = 255) -> None:
    """Raise LabelMapError if a label is neither a class (0 to ``num_classes`` - 1) nor ``ignore_index``."""
    wrong = labels[(labels >= num_classes) & (labels != ignore_index)]
    if wrong.size:
        raise LabelMapError(
            f'label map {printable(path)}: label {wrong[0]} is no class of the data set (0 to {num_classes - 1}, '
            f'and {ignore_index} for pixels that do not count)'
        )

"""Images from disk, where some of millions are damaged."""

import logging
import re

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from ..errors import FileError

# A marker of a JPEG within the coded data of a scan: FF and neither a stuffed 00, nor a restart marker, nor padding.
_MARKER = re.compile(rb'\xff([^\x00\xd0-\xd7\xff])')
_PNG = b'\x89PNG\r\n\x1a\n'


@TRANSFORMS.register_module()
class LoadImageOrSkip(LoadImageFromFile):
    """Load an image; report a damaged one by its path, and let the data set draw another in its place.

    Damaged: missing, empty, truncated, or no image at all.

    OpenCV decodes a truncated JPEG without complaint into a picture that ends in grey. This transform looks for the end
    of the file's format first (JPEG, PNG, WebP; bytes after the end are fine, as in other readers). A transform that
    returns None makes mmengine's, mmpretrain's, mmdet's and mmseg's data sets draw another sample at random while
    training. Testing must not skip: use ``skip=False`` there, or mmengine stops at the None with an error of its own.

    Args:
        skip: Log the path and return None (True), or raise (False).
        **kwargs: As :class:`mmcv.transforms.LoadImageFromFile`, without ``file_client_args`` and ``ignore_empty``.

    Raises:
        OSError: The image cannot be read and ``skip`` is False; the message names the file and what is wrong with it.
    """

    def __init__(self, skip: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.skip = skip

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']``; sets 'img' (h, w, 3), 'img_shape' and 'ori_shape' (h, w)."""
        path = results['img_path']
        try:
            image = self._load(path)
        except (OSError, cv2.error) as error:
            message = f'damaged image {path}: {error}'
            if not self.skip:
                raise FileError(message) from error
            # As an error: mmengine shows only those of processes other than the first.
            print_log(f'{message} (another is taken in its place)', logger='current', level=logging.ERROR)
            return None
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results

    def _load(self, path: str) -> np.ndarray:
        data = fileio.get(path, backend_args=self.backend_args)
        reason = find_damage(data)
        if reason:
            raise OSError(reason)
        image = mmcv.imfrombytes(data, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise OSError('it cannot be decoded as an image')
        return image.astype(np.float32) if self.to_float32 else image


def find_damage(data: bytes) -> str | None:
    """Why ``data`` is not a complete image file, or None. Takes a few percent of the time of decoding.

    Args:
        data: The bytes of a file. JPEG, PNG and WebP are checked to their end, other formats only for being there.
    """
    if not data:
        return 'the file is empty'
    if data.startswith(b'\xff\xd8') and not _jpeg_is_complete(data):
        return 'truncated JPEG (no end-of-image marker)'
    if data.startswith(_PNG) and b'IEND\xae\x42\x60\x82' not in data:
        return 'truncated PNG (no end chunk)'
    if data[:4] == b'RIFF' and len(data) < 8 + int.from_bytes(data[4:8], 'little'):
        return 'truncated WebP (shorter than its header says)'
    return None


def _jpeg_is_complete(data: bytes) -> bool:
    """Walk the segments to the end-of-image marker; a mere search would find that of an embedded thumbnail."""
    position = 2
    while marker := _MARKER.search(data, position):
        position = marker.end()
        if marker[1] == b'\xd9':
            return True
        if marker[1] != b'\x01':  # a segment that says its length; of the header of a scan too, whose coded data follow
            position += int.from_bytes(data[position : position + 2], 'big')
    return False

"""Images from disk, where some of millions are damaged."""

import io
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import MessageHub, print_log
from mmengine.registry import TRANSFORMS
from PIL import Image

from ..errors import FileError, UserError
from ..files import can_block, printable

MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a GiB at three bytes per pixel
LIMIT_VARIABLE = 'CRATE_MAX_PIXELS'
EXIF_ORIENTATION = 0x0112
WARNED = 'orientation_warned'  # the message hub of a run notes under this name that warn_of_orientation has warned
# Errors of Pillow for files that are unknown to it or damaged (SyntaxError: a PNG's checksum).
PILLOW_ERRORS = (OSError, SyntaxError, ValueError)

# A marker of a JPEG within the coded data of a scan: FF and neither a stuffed 00, nor a restart marker, nor padding.
_MARKER = re.compile(rb'\xff([^\x00\xd0-\xd7\xff])')
_PNG = b'\x89PNG\r\n\x1a\n'
_PNG_EXIF = (b'eXIf', b'Raw profile type exif', b'XML:com.adobe.xmp')  # what may hold the orientation of a PNG
_LIBJPEG_WARNING = re.compile(rb'Corrupt JPEG data: [^\r\n]*')


class ImageFileError(FileError):
    """An image cannot be used; the message names the file and what is wrong with it."""


class PixelLimitError(OSError):
    """An image has more pixels than the limit."""


@TRANSFORMS.register_module()
class LoadImageOrSkip(LoadImageFromFile):
    """Load an image; report a damaged one by its path, and let the data set draw another in its place.

    Damaged: missing, empty, truncated, not an image, or with more pixels than the limit.

    OpenCV decodes a truncated JPEG without complaint into a picture that ends in grey. This transform first looks for
    the end of the format (JPEG, PNG, WebP; bytes after the end are fine, as in other readers). If a transform returns
    None while training, the data sets of mmengine, mmpretrain, mmdet and mmseg draw another sample at random. Testing
    must not skip images: use ``skip=False`` there.

    JPEG and WebP have no checksums: a file with damage in the middle often decodes into a picture that is partly wrong.
    ``strict=True`` finds most of these JPEGs (numbers: docs/data.md) in twice the time.

    A small file may hold a huge image. The number of pixels is read from the header, before the image is decoded.

    Args:
        skip: Log the path and return None (True), or raise (False).
        strict: Decode with Pillow too, and count libjpeg's warning of corrupt data as damage.
        max_pixels: Largest number of pixels; default: environment variable CRATE_MAX_PIXELS, or 89,478,485.
        **kwargs: Arguments of :class:`mmcv.transforms.LoadImageFromFile`, but not ``file_client_args`` or
            ``ignore_empty``.

    Raises:
        ImageFileError: The image cannot be used and ``skip`` is False. It is an OSError.
        UserError: The image has another size than the data set says (``results['height']`` and ``['width']`` of mmdet):
            its annotations belong to other pixels.
    """

    def __init__(self, skip: bool = True, strict: bool = False, max_pixels: int | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.skip, self.strict, self.max_pixels = skip, strict, max_pixels

    def transform(self, results: dict) -> dict | None:
        """Read ``results['img_path']``; set 'img' (h, w, 3), 'img_shape' and 'ori_shape' (h, w)."""
        path = results['img_path']
        try:
            image = self._load(path)
        except (OSError, SyntaxError, cv2.error) as error:
            kind = 'too large' if isinstance(error, PixelLimitError) else 'damaged'
            message = f'{kind} image {printable(path)}: {_reason(error)}'
            if not self.skip:
                raise ImageFileError(message) from error
            # As an error: mmengine shows only errors of processes other than the first.
            print_log(f'{message} (another image replaces it)', logger='current', level=logging.ERROR)
            return None
        named = results.get('height'), results.get('width')
        if None not in named and image.shape[:2] != named:
            raise UserError(size_mismatch(path, image.shape[:2], named, 'the annotation file'))
        if None not in named and self.color_type not in ('unchanged', 'color_ignore_orientation'):
            warn_of_orientation(path, named)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results

    def _load(self, path: str) -> np.ndarray:
        if can_block(path):
            raise OSError('not a regular file')
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except ValueError as error:  # the path, from an annotation file, holds a zero byte or half a surrogate pair
            raise OSError(f'no file can have this name ({error})') from error
        if reason := find_damage(data):
            raise OSError(reason)
        check_pixels(data, self.max_pixels)
        with own_limit(), libjpeg_warnings(self.strict) as warnings:
            image = mmcv.imfrombytes(data, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise OSError('it cannot be decoded as an image')
        if self.strict:
            try:
                with own_limit(), Image.open(io.BytesIO(data)) as decoded:
                    decoded.load()
            except PILLOW_ERRORS as error:
                raise OSError(str(error)) from error
        if warnings:
            raise OSError(warnings[0])
        return image.astype(np.float32) if self.to_float32 else image


def find_damage(data: bytes) -> str | None:
    """Return why the bytes of a file are not a complete image, or None. Takes a few percent of the time of decoding.

    JPEG, PNG and WebP are checked to their end, other formats only for being there.
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


def check_pixels(data: bytes, limit: int | None = None) -> None:
    """Raise if an image, the bytes of a file, has more pixels than the limit (default: :func:`pixel_limit`).

    Only its header is read. Formats that Pillow does not know are left to OpenCV, which has a limit of 2**30 pixels.

    Raises:
        PixelLimitError: There are more; the message says how to raise the limit.
    """
    limit = limit or pixel_limit()
    try:
        with own_limit(), Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except PILLOW_ERRORS:
        return
    if width * height > limit:
        raise PixelLimitError(
            f'{width} x {height} pixels are more than {limit:,}; to load it, set the environment variable '
            f'{LIMIT_VARIABLE}={width * height} or more'
        )


def pixel_limit() -> int:
    """Return the largest number of pixels: CRATE_MAX_PIXELS of the environment, or 89,478,485.

    Raises:
        UserError: The variable is not a number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(MAX_PIXELS)
    if not text.isdecimal() or not int(text):
        raise UserError(f'{LIMIT_VARIABLE}={text}: must be a number of pixels, such as {MAX_PIXELS}')
    return int(text)


@contextmanager
def own_limit() -> Iterator[None]:
    """Switch Pillow's limit of pixels off within the block: ours takes its place."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_orientation(path: str) -> int:
    """Return the EXIF orientation of a photo, 1 to 8; 1, upright, if the file does not say."""
    try:
        with _opened(path) as image:
            # Pillow looks behind the pixels of a PNG, and decodes all of them to get there
            if image.format == 'PNG':
                content = Path(path).read_bytes()
                if not any(mark in content for mark in _PNG_EXIF):
                    return 1
            return image.getexif().get(EXIF_ORIENTATION, 1)
    except PILLOW_ERRORS:
        return 1


def read_shape(path: str, upright: bool = True) -> tuple[int, int]:
    """Return the (height, width) of a photo, from its header.

    Args:
        path: File of the photo.
        upright: Whether the photo will be loaded with its EXIF orientation applied, OpenCV's default.

    Raises:
        UserError: The file is missing, or not an image.
    """
    try:
        with _opened(path) as image:
            width, height = image.size
    except FileNotFoundError as error:
        raise UserError(f'not found: {printable(path)} (is data_root right?)') from error
    except PILLOW_ERRORS as error:
        raise UserError(f'{printable(path)}: cannot be read as an image') from error
    return (width, height) if upright and read_orientation(path) > 4 else (height, width)


def size_mismatch(path: str, loaded: Sequence[int], named: Sequence[int], source: str) -> str:
    """Return one line: an image has another size than its annotations belong to.

    Args:
        path: File of the image.
        loaded: (height, width) of the loaded image.
        named: (height, width) of the annotations.
        source: Name of the place that the annotations come from.
    """
    (height, width), (named_height, named_width) = loaded, named
    line = (
        f'{printable(path)}: the image has {width} x {height} pixels, and {source} has {named_width} x {named_height}'
    )
    orientation = read_orientation(path)
    if orientation > 4 and (named_height, named_width) == (width, height):
        return (
            f'{line}, the size of the stored pixels before the EXIF orientation of the photo ({orientation}) turns '
            "them: turn the annotations, or load photos with color_type='color_ignore_orientation'"
        )
    return f'{line}: they do not belong together; correct one of them'


def warn_of_orientation(path: str, shape: Sequence[int]) -> None:
    """Log a warning, once per process of a run, of a photo that EXIF turns and that keeps its size, (height, width).

    The sizes then do not tell whether annotations belong to the stored pixels or to the turned ones.
    """
    hub = MessageHub.get_current_instance()
    if hub.get_info(WARNED):
        return
    orientation = read_orientation(path)
    if orientation in (2, 3, 4) or (orientation in (5, 6, 7, 8) and shape[0] == shape[1]):
        hub.update_info(WARNED, True, resumed=False)
        message = (
            f'{printable(path)}: the EXIF orientation of the photo ({orientation}) turns its pixels and keeps its '
            'size; check that its annotations belong to the turned pixels, or load photos with '
            "color_type='color_ignore_orientation'; other photos of this kind are not named"
        )
        print_log(message, logger='current', level=logging.WARNING)


@contextmanager
def libjpeg_warnings(listen: bool) -> Iterator[list[str]]:
    """Collect libjpeg's warnings of corrupt data while OpenCV decodes; libjpeg prints them on the standard error only.

    Other text on the standard error is passed on. Yields a list that holds the warnings after the block; it stays empty
    unless ``listen`` is set.
    """
    warnings: list[str] = []
    if not listen:
        yield warnings
        return
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            yield warnings
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            heard.seek(0)
            text = heard.read()
            warnings += [line.decode('ascii', 'replace') for line in _LIBJPEG_WARNING.findall(text)]
            os.write(2, _LIBJPEG_WARNING.sub(b'', text).lstrip(b'\n'))


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    if can_block(path):
        raise OSError('not a regular file')
    with own_limit(), Image.open(path) as image:
        yield image


def _reason(error: Exception) -> str:
    """Return one line that any log takes. The message of a missing file would repeat its name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(' '.join(str(error).split()))


def _jpeg_is_complete(data: bytes) -> bool:
    """Walk the segments to the end-of-image marker: a mere search would find the marker of an embedded thumbnail."""
    position = 2
    while marker := _MARKER.search(data, position):
        position = marker.end()
        if marker[1] == b'\xd9':
            return True
        if marker[1] != b'\x01':  # a segment with its length; after the header of a scan follow coded data
            position += int.from_bytes(data[position : position + 2], 'big')
    return False

"""Check COCO annotation files from anywhere, before the first image is evaluated.

pycocotools checks nothing. It may raise a KeyError after all images, or crash the process. For example, a run-length
code of 10^6 x 10^6 pixels, or a polygon with a coordinate of 10^9, is a segmentation fault. All checks here look at the
numbers of the file, before pycocotools sees them.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from mmengine import fileio

from ..errors import UserError
from ..files import can_block, printable

# Above this, no photograph; pycocotools counts pixels in 32 bits.
MAX_SIDE = 1 << 16
MAX_PIXELS = 1 << 30
MARGIN = 2  # a polygon may leave its image by this many times the image's sides


class CocoFileError(UserError, ValueError):
    """An annotation file cannot be used; the message names the file, and the image or annotation by its id."""


def read_coco(path: str, masks: bool = False, backend_args: dict | None = None, truth: bool = True) -> dict:
    """Read a COCO annotation file, and check it; the file stays unchanged.

    Args:
        path: Annotation file.
        masks: See :func:`check_coco`.
        backend_args: Arguments of mmengine's file backend.
        truth: See :func:`check_coco`.

    Returns:
        The content: 'images', 'annotations' and 'categories' as in the file.

    Raises:
        CocoFileError: See :func:`check_coco`; or the file is missing, or no JSON.
    """
    name = printable(path)
    if can_block(path):
        raise CocoFileError(f'{name}: not a regular file')
    try:
        content = json.loads(fileio.get_text(path, 'utf-8', backend_args))  # pycocotools reads no other encoding
    except FileNotFoundError as error:
        raise CocoFileError(
            f'not found: {name} (is data_root right? a relative path starts at the current folder)'
        ) from error
    except (ValueError, RecursionError) as error:
        raise CocoFileError(f'{name}: not readable as JSON ({error})') from error
    check_coco(content, name, masks, truth)
    return content


def check_coco(content: Any, name: str, masks: bool = False, truth: bool = True) -> None:
    """Check the content of a COCO annotation file, and set ``iscrowd`` to 0 where there is none (LVIS has none).

    Args:
        content: Content of the JSON file.
        name: Name of the file, for messages.
        masks: Whether masks are evaluated. Then every annotation needs a valid ``segmentation``.
        truth: False: the list of annotations may be missing, as in COCO's ``image_info_test-dev2017.json``.

    Raises:
        CocoFileError: A list or a key is missing. An id is unknown or not unique. A size is absurd. A box or a polygon
            is invalid, or a run-length code does not fit its image.
    """
    if not truth and isinstance(content, dict):
        content.setdefault('annotations', [])
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise CocoFileError(f'{name}: has no list {key!r}; it must be a COCO file of object instances')
    images = _by_id(content['images'], name, 'image')
    categories = _by_id(content['categories'], name, 'category')
    annotations = _by_id(content['annotations'], name, 'annotation')
    for key, image in images.items():
        _check_image(image, f'{name}: image {_short(key)}')
    for key, one in annotations.items():
        where = f'{name}: annotation {_short(key)}'
        if not _known(one.get('image_id'), images):
            raise CocoFileError(f'{where}: image_id {_short(one.get("image_id"))} is not among its images')
        if not _known(one.get('category_id'), categories):
            raise CocoFileError(f'{where}: category_id {_short(one.get("category_id"))} is not a category of it')
        reason = _box_problem(one) or (_mask_problem(one.get('segmentation'), images[one['image_id']]) if masks else '')
        if reason:
            raise CocoFileError(f'{where}: {reason}')


def number_annotations(content: dict) -> None:
    """Give the annotations the ids 1, 2, ... in place of their own.

    pycocotools keeps the id of the object that a prediction found as a float, where 0 is none. With an object of id 0,
    as in many converted files, it counts a right prediction as wrong.
    """
    for number, annotation in enumerate(content.get('annotations', ()), start=1):
        annotation['id'] = number


def check_names(content: dict, path: str) -> None:
    """Raise CocoFileError if an image has no ``file_name`` or a category no ``name``: a data set needs them."""
    for kind, key in (('images', 'file_name'), ('categories', 'name')):
        for entry in content[kind]:
            if not isinstance(entry.get(key), str):
                raise CocoFileError(f'{printable(path)}: {key} is missing from {entry["id"]!r} of its {kind}')


def _by_id(entries: list, name: str, kind: str) -> dict[Any, dict]:
    found = {}
    for position, entry in enumerate(entries):
        key = entry.get('id') if isinstance(entry, dict) else None
        if not isinstance(key, int | str):
            raise CocoFileError(f'{name}: {kind} number {position} of the list has no id')
        if key in found:
            raise CocoFileError(f'{name}: {kind} {_short(key)} is there twice; ids must differ')
        found[key] = entry
    if len({isinstance(key, str) for key in found}) == 2 and kind != 'annotation':  # which pycocotools sorts
        raise CocoFileError(f'{name}: of its {kind} ids, some are numbers and some are texts')
    return found


def _known(key: Any, entries: Mapping) -> bool:
    return isinstance(key, int | str) and key in entries


def _check_image(image: dict, where: str) -> None:
    height, width = image.get('height'), image.get('width')
    if not all(_is_number(side) and side == int(side) for side in (height, width)):
        raise CocoFileError(f'{where}: height and width must be pixels, not {_short(height)} and {_short(width)}')
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise CocoFileError(f'{where}: {_short(width)} x {_short(height)} is no size of an image')


def _box_problem(annotation: dict) -> str:
    iscrowd, box, area = annotation.setdefault('iscrowd', 0), annotation.get('bbox'), annotation.get('area')
    if iscrowd not in (0, 1):
        return f'iscrowd must be 0 or 1, not {_short(iscrowd)}'
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0):
        return f'bbox must be [x, y, width, height], not {_short(box)}'
    return '' if _is_number(area) and area >= 0 else f'area must be a number of pixels, not {_short(area)}'


def _mask_problem(segmentation: Any, image: dict) -> str:
    height, width = image['height'], image['width']
    if not segmentation:
        return "has no segmentation, and masks are evaluated; remove it, or set metric='bbox'"
    if isinstance(segmentation, dict):
        return _code_problem(segmentation, height, width)
    if not isinstance(segmentation, list):
        return 'segmentation must be polygons or a run-length code'
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(map(_is_number, polygon)):
            return 'a polygon of its segmentation is no list of numbers'
        if len(polygon) < 6 or len(polygon) % 2:
            return f'a polygon of its segmentation has {len(polygon)} numbers; it needs x and y of 3 points or more'
        if (reach := max(map(abs, polygon))) > (1 + MARGIN) * max(height, width):
            return f'a polygon of its segmentation reaches to {reach:g}, and the image has {width} x {height} pixels'
    return ''


def _code_problem(code: dict, height: int, width: int) -> str:
    """Check a run-length code as pycocotools takes it: of its image's size, with runs that fill it."""
    if code.get('size') != [height, width]:
        size = _short(code.get('size'))
        return f'its run-length code has (height, width) {size}, and the image {[height, width]}'
    counts = code.get('counts')
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(isinstance(run, int) and run >= 0 for run in counts):
        return 'the counts of its run-length code cannot be decoded'
    pixels = height * width
    return '' if sum(counts) == pixels else f'its run-length code has {sum(counts)} pixels, and the image {pixels}'


def _decompressed(text: str) -> list[int] | None:
    """Return the runs of pycocotools' compressed code: five bits a character; from the third run on differences."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)  # to the run before the last
        value, shift = 0, 0
    return None if shift else runs


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'

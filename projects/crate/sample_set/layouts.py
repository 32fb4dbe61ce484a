"""Layouts of the sample set on disk: ImageNet, VOC and COCO, as the data sets of mmpretrain, mmseg and mmdet read them.

Masks are palette PNG files as in VOC. 0 is the background; other pixels hold the class + 1, or the number of the object
from 1. Read them with PIL (mmseg's default): OpenCV would return colours.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..coco import coco_annotation
from .coats import CLASSES, SEGMENTATION_METAINFO
from .render import Sample

SPLITS = ('train', 'val')
JPEG = dict(quality=95, subsampling=0)  # full colour resolution: hue tells the classes apart


class Layout(NamedTuple):
    """A way to write a set.

    Attributes:
        folder: Name of the layout's folder in the set.
        write: ``write(root, split, index, sample)`` writes one sample and returns its record; safe to call in parallel.
        finish: ``finish(root, split, records)`` writes the lists of a split from its records, in the order of indices.
    """

    folder: str
    write: Callable[[Path, str, int, Sample], Any]
    finish: Callable[[Path, str, Sequence[Any]], None]


def write_imagenet(root: Path, split: str, index: int, sample: Sample) -> None:
    """Write ``<split>/<class>/<name>.png``, the class of the last object, and ``masks/`` with the same paths."""
    path = Path(split, CLASSES[sample.labels[-1]], f'{split}_{index:06d}.png')
    _save(Image.fromarray(sample.image), root / path)
    _save(_indexed(sample.masks, sample.labels + 1), root / 'masks' / path)


def write_voc(root: Path, split: str, index: int, sample: Sample) -> str:
    """Write image, class mask and object mask of a sample; return its name."""
    name, year = f'{split}_{index:06d}', root / 'VOC2012'
    _save(Image.fromarray(sample.image), year / 'JPEGImages' / f'{name}.jpg', **JPEG)
    _save(_indexed(sample.masks, sample.labels + 1), year / 'SegmentationClass' / f'{name}.png')
    _save(_indexed(sample.masks, range(1, len(sample.masks) + 1)), year / 'SegmentationObject' / f'{name}.png')
    return name


def finish_voc(root: Path, split: str, records: Sequence[str]) -> None:
    """Write the list of the split's names."""
    text = ''.join(f'{name}\n' for name in records)
    _write(root / 'VOC2012' / 'ImageSets' / 'Segmentation' / f'{split}.txt', text)


def write_coco(root: Path, split: str, index: int, sample: Sample) -> dict:
    """Write the image of a sample; return its entry and its annotations, without their ids."""
    name = f'{index + 1:012d}.jpg'
    _save(Image.fromarray(sample.image), root / f'{split}2017' / name, **JPEG)
    height, width = sample.image.shape[:2]
    entry = dict(id=index + 1, file_name=name, height=height, width=width)
    annotations = [coco_annotation(mask, int(label)) for mask, label in zip(sample.masks, sample.labels)]
    return dict(image=entry, annotations=annotations)


def finish_coco(root: Path, split: str, records: Sequence[dict]) -> None:
    """Write ``annotations/instances_<split>2017.json``."""
    annotations = [dict(one, image_id=record['image']['id']) for record in records for one in record['annotations']]
    content = dict(
        info=dict(description='CRATE sample set'),
        licenses=[],
        images=[record['image'] for record in records],
        annotations=[dict(one, id=number) for number, one in enumerate(annotations, start=1)],
        categories=[dict(id=number, name=name) for number, name in enumerate(CLASSES, start=1)],
    )
    _write(root / 'annotations' / f'instances_{split}2017.json', json.dumps(content))


def _indexed(masks: np.ndarray, indices: Sequence[int]) -> Image.Image:
    """Return disjoint masks (n, H, W) as one palette image of their n indices, 0 elsewhere."""
    canvas = np.zeros(masks.shape[1:], dtype=np.uint8)
    for mask, index in zip(masks, indices):
        canvas[mask] = index
    image = Image.fromarray(canvas)
    image.putpalette(np.array(SEGMENTATION_METAINFO['palette'], dtype=np.uint8).tobytes())
    return image


def _save(image: Image.Image, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


LAYOUTS = dict(
    imagenet=Layout('imagenet', write_imagenet, lambda root, split, records: None),  # the folders are the annotation
    voc=Layout('VOCdevkit', write_voc, finish_voc),
    coco=Layout('coco', write_coco, finish_coco),
)

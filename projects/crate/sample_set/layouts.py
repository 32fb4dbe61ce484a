"""How samples lie on disk: ImageNet, VOC and COCO layout, as the data sets of mmpretrain, mmseg and mmdet read them.

Masks are palette PNG files as VOC has them: 0 is the background, and other pixels hold the class + 1 or the number of
the object, counted from 1. Read them with PIL (mmseg's default), not with OpenCV, which would return colours.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..coco import coco_annotation
from .coats import CLASSES, SEGMENTATION_METAINFO
from .render import Sample

SPLITS = ('train', 'val')
JPEG = dict(quality=95, subsampling=0)  # full colour resolution: hue is what tells the classes apart


@dataclass(frozen=True)
class Layout:
    """One way of laying a set out.

    Args:
        folder: Name of the layout's folder in the set.
        write: ``write(root, split, index, sample)`` writes one sample and returns its record; safe to call in parallel.
        finish: ``finish(root, split, records)`` writes the lists of a split from its records, in the order of
            their indices.
    """

    folder: str
    write: Callable[[Path, str, int, Sample], Any]
    finish: Callable[[Path, str, Sequence[Any]], None]


def write_imagenet(root: Path, split: str, index: int, sample: Sample) -> None:
    """``<split>/<class>/<name>.png``, class of the last object, and ``masks/`` with the same paths."""
    path = Path(split, CLASSES[sample.labels[-1]], f'{split}_{index:06d}.png')
    _save(Image.fromarray(sample.image), root / path)
    _save(_indexed(sample.masks, sample.labels + 1), root / 'masks' / path)


def finish_imagenet(root: Path, split: str, records: Sequence[None]) -> None:
    """Nothing: the folders are the annotation."""


def write_voc(root: Path, split: str, index: int, sample: Sample) -> str:
    """Image, class mask and object mask of one sample; returns its name."""
    name = f'{split}_{index:06d}'
    year = root / 'VOC2012'
    _save(Image.fromarray(sample.image), year / 'JPEGImages' / f'{name}.jpg', **JPEG)
    _save(_indexed(sample.masks, sample.labels + 1), year / 'SegmentationClass' / f'{name}.png')
    objects = np.arange(1, len(sample.masks) + 1)
    _save(_indexed(sample.masks, objects), year / 'SegmentationObject' / f'{name}.png')
    return name


def finish_voc(root: Path, split: str, records: Sequence[str]) -> None:
    """The list of the split's names."""
    path = root / 'VOC2012' / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{name}\n' for name in records))


def write_coco(root: Path, split: str, index: int, sample: Sample) -> dict:
    """The image of one sample; returns its entry and its annotations, without their ids."""
    name = f'{index + 1:012d}.jpg'
    _save(Image.fromarray(sample.image), root / f'{split}2017' / name, **JPEG)
    height, width = sample.image.shape[:2]
    entry = dict(id=index + 1, file_name=name, height=height, width=width)
    annotations = [coco_annotation(mask, int(label)) for mask, label in zip(sample.masks, sample.labels)]
    return dict(image=entry, annotations=annotations)


def finish_coco(root: Path, split: str, records: Sequence[dict]) -> None:
    """``annotations/instances_<split>2017.json``."""
    annotations = [dict(one, image_id=record['image']['id']) for record in records for one in record['annotations']]
    content = dict(
        info=dict(description='CRATE sample set'),
        licenses=[],
        images=[record['image'] for record in records],
        annotations=[dict(one, id=number) for number, one in enumerate(annotations, start=1)],
        categories=[dict(id=number, name=name) for number, name in enumerate(CLASSES, start=1)],
    )
    path = root / 'annotations' / f'instances_{split}2017.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _indexed(masks: np.ndarray, indices: np.ndarray) -> Image.Image:
    """Disjoint masks (n, H, W) as one palette image with ``indices`` (n,) where they are and 0 elsewhere."""
    canvas = np.zeros(masks.shape[1:], dtype=np.uint8)
    for mask, index in zip(masks, indices):
        canvas[mask] = index
    image = Image.fromarray(canvas)
    image.putpalette(np.array(SEGMENTATION_METAINFO['palette'], dtype=np.uint8).tobytes())
    return image


def _save(image: Image.Image, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


LAYOUTS = dict(
    imagenet=Layout('imagenet', write_imagenet, finish_imagenet),
    voc=Layout('VOCdevkit', write_voc, finish_voc),
    coco=Layout('coco', write_coco, finish_coco),
)

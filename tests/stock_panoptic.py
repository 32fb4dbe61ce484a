"""A panoptic set out of the sample set's instances, and what mmdet takes from panopticapi, which PyPI does not have."""

import json
import sys
from collections import defaultdict
from types import ModuleType, SimpleNamespace

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

IGNORED, STUFF = 255, 'background'  # label, category of pixels that belong to no thing


def rgb2id(color):
    return color.astype(np.int64) @ [1, 256, 256**2]


def id2rgb(ids):
    return np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)


class PQStat:
    """Panoptic quality (arXiv 1801.00868): PQ = sum of IoU / (TP + FP / 2 + FN / 2), per category and as their mean."""

    def __init__(self):
        self.counts = defaultdict(lambda: SimpleNamespace(iou=0.0, tp=0, fp=0, fn=0))

    def __getitem__(self, category):
        return self.counts[category]

    def __iadd__(self, other):
        for category, more in other.counts.items():
            for key, value in vars(more).items():
                setattr(self.counts[category], key, getattr(self.counts[category], key) + value)
        return self

    def pq_average(self, categories, isthing):
        per_class = {}
        for category, about in categories.items():
            one = self.counts[category]
            if isthing is None or bool(about['isthing']) == isthing:
                number = one.tp + (one.fp + one.fn) / 2
                per_class[category] = dict(
                    pq=one.iou / number if number else 0.0,
                    sq=one.iou / one.tp if one.tp else 0.0,
                    rq=one.tp / number if number else 0.0,
                    seen=number > 0,
                )
        seen = [one for one in per_class.values() if one.pop('seen')]
        mean = {key: float(np.mean([one[key] for one in seen])) if seen else 0.0 for key in ('pq', 'sq', 'rq')}
        return dict(mean, n=len(seen)), per_class


def stand_in(monkeypatch):
    """Put the four names where mmdet looks for them, in place of a package that is not installed."""
    from mmdet.evaluation.functional import panoptic_utils
    from mmdet.evaluation.metrics import coco_panoptic_metric

    package, utils = ModuleType('panopticapi'), ModuleType('panopticapi.utils')
    package.utils, utils.rgb2id, utils.id2rgb = utils, rgb2id, id2rgb
    monkeypatch.setitem(sys.modules, 'panopticapi', package)
    monkeypatch.setitem(sys.modules, 'panopticapi.utils', utils)
    names = dict(panopticapi=package, VOID=0, PQStat=PQStat, id2rgb=id2rgb, rgb2id=rgb2id)
    for module in (coco_panoptic_metric, panoptic_utils):
        for name, value in names.items():
            monkeypatch.setattr(module, name, value, raising=False)


def write_panoptic(root):
    """Write panoptic and semantic annotations beside the instances of a COCO folder: things, and one kind of stuff."""
    for split in ('train', 'val'):
        coco = COCO(root / f'annotations/instances_{split}2017.json')
        categories = [dict(category, isthing=1) for category in coco.dataset['categories']]
        stuff = max(coco.getCatIds()) + 1
        folders = [root / f'annotations/panoptic_{split}2017', root / f'stuffthingmaps/{split}2017']
        for folder in folders:
            folder.mkdir(parents=True)
        annotations = []
        for image in coco.dataset['images']:
            ids = np.full((image['height'], image['width']), 1)
            labels = np.full(ids.shape, IGNORED, np.uint8)
            segments = {1: stuff}
            for number, thing in enumerate(coco.loadAnns(coco.getAnnIds(image['id'])), start=2):
                mask = coco.annToMask(thing) > 0
                ids[mask], labels[mask] = number, coco.getCatIds().index(thing['category_id'])
                segments[number] = thing['category_id']
            name = image['file_name'].replace('.jpg', '.png')
            for folder, array in zip(folders, (id2rgb(ids), labels)):
                Image.fromarray(array).save(folder / name)
            infos = [segment(ids == number, number, category) for number, category in segments.items()]
            annotations.append(dict(image_id=image['id'], file_name=name, segments_info=[*filter(None, infos)]))
        content = dict(images=coco.dataset['images'], annotations=annotations)
        content['categories'] = [*categories, dict(id=stuff, name=STUFF, isthing=0)]
        (root / f'annotations/panoptic_{split}2017.json').write_text(json.dumps(content))


def segment(mask, number, category):
    """An entry of ``segments_info``; None for a thing that is hidden."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return dict(id=number, category_id=category, area=int(mask.sum()), bbox=box, iscrowd=0)

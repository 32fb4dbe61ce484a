"""mmdet's COCO metric for annotation files without ``iscrowd``, such as those of LVIS, and with any ids."""

from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric

from .coco_file import number_annotations


class OptionalCrowdCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``; an annotation without ``iscrowd`` is no crowd, and its id may be 0 or a text.

    Without the key, pycocotools ends in a KeyError after the last image; for ids see
    :func:`projects.crate.evaluation.coco_file.number_annotations`. Arguments and results are the same as those of
    :class:`mmdet.evaluation.CocoMetric`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if (api := self._coco_api) is None:  # then mmdet writes the keys itself
            return
        for annotation in api.dataset.get('annotations', ()):
            annotation.setdefault('iscrowd', 0)
        self._coco_api = indexed(api.dataset)


def indexed(content: dict) -> COCO:
    """Return pycocotools' index of a file with this content; its annotations get new ids."""
    number_annotations(content)
    api = COCO()
    api.dataset = content
    api.createIndex()
    api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
    return api

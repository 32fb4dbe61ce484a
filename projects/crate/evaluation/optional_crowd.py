"""mmdet's COCO metric for annotation files without ``iscrowd``, such as those of LVIS, and with any ids."""

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
        number_annotations(api.dataset)
        for annotation in api.dataset.get('annotations', ()):
            annotation.setdefault('iscrowd', 0)
        api.createIndex()
        api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs

"""mmdet's COCO metric for annotation files without ``iscrowd``, such as those of LVIS."""

from mmdet.evaluation import CocoMetric


class OptionalCrowdCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric``; an annotation without ``iscrowd`` is no crowd.

    pycocotools needs the key after the last image, and ends in a KeyError. Arguments and results are the same as those
    of :class:`mmdet.evaluation.CocoMetric`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self._coco_api is not None:  # else mmdet writes the key itself
            for annotation in self._coco_api.dataset.get('annotations', ()):
                annotation.setdefault('iscrowd', 0)

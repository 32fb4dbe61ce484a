"""Metrics: coarse segmentation, class-agnostic AP, object discovery, sparse rate."""

from mmengine.registry import METRICS

from ..errors import MissingPackageError
from .best_head import best_head_iou, binarise, head_iou
from .coarse_segmentation import BestHeadIoU
from .object_discovery import CorLoc, Saliency

__all__ = ['BestHeadIoU', 'CorLoc', 'Saliency', 'best_head_iou', 'binarise', 'head_iou']


@METRICS.register_module(name='ClassAgnosticCocoMetric')
def _build_class_agnostic_coco_metric(**kwargs):
    """Import the metric when a config asks for it: mmdet's metrics take a second, and mmdet may be missing."""
    try:
        from .class_agnostic import ClassAgnosticCocoMetric
    except ImportError as error:
        raise MissingPackageError(
            f'ClassAgnosticCocoMetric needs mmdet and the compiled operators of mmcv: {error}'
        ) from error
    return ClassAgnosticCocoMetric(**kwargs)


@METRICS.register_module(name='OptionalCrowdCocoMetric')
def _build_optional_crowd_coco_metric(**kwargs):
    from .optional_crowd import OptionalCrowdCocoMetric  # it takes the place of a metric of mmdet

    return OptionalCrowdCocoMetric(**kwargs)


@METRICS.register_module(name='MatchedIoUMetric')
def _build_matched_iou_metric(**kwargs):
    from .matched_iou import MatchedIoUMetric  # it takes the place of a metric of mmseg

    return MatchedIoUMetric(**kwargs)

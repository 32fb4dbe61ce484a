"""Metrics: coarse segmentation, class-agnostic AP, object discovery, sparse rate."""

from mmengine.registry import METRICS

from ..registration import register_later
from .best_head import best_head_iou, binarise, head_iou
from .coarse_segmentation import BestHeadIoU
from .object_discovery import CorLoc, Saliency

__all__ = ['BestHeadIoU', 'CorLoc', 'Saliency', 'best_head_iou', 'binarise', 'head_iou']

register_later(METRICS, __name__, 'class_agnostic', 'ClassAgnosticCocoMetric')
register_later(METRICS, __name__, 'optional_crowd', 'OptionalCrowdCocoMetric')
register_later(METRICS, __name__, 'matched_iou', 'MatchedIoUMetric', library='mmseg')

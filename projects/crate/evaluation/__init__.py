"""What is measured on a model."""

from .best_head import best_head_iou, binarise

__all__ = ['best_head_iou', 'binarise']

"""MaskCut (arXiv 2301.11320): objects from the features of a transformer, without training.

Pure functions of tensors on any device, without OpenMMLab. :func:`maskcut` documents the sign rule.
"""

from .rounds import is_complete, mask_scores, maskcut, ncut, peak_positive, salient_part

__all__ = ['is_complete', 'mask_scores', 'maskcut', 'ncut', 'peak_positive', 'salient_part']

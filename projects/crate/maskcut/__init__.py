"""MaskCut (arXiv 2301.11320): objects from the features of a transformer, without training.

Pure functions of tensors on any device, without OpenMMLab. :func:`maskcut` documents the sign rule.
"""

from .rounds import MIN_GAP, is_complete, mask_gaps, mask_scores, maskcut, ncut, peak_positive, salient_part

__all__ = ['MIN_GAP', 'is_complete', 'mask_gaps', 'mask_scores', 'maskcut', 'ncut', 'peak_positive', 'salient_part']

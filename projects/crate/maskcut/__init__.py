"""MaskCut (arXiv 2301.11320): objects from the features of a transformer, without training.

Pure functions of tensors on whatever device they are; nothing here knows OpenMMLab. Users meet the sign rule in
:func:`maskcut`.
"""

from .rounds import mask_scores, maskcut, ncut, peak_positive, salient_part

__all__ = ['mask_scores', 'maskcut', 'ncut', 'peak_positive', 'salient_part']

# Cascade Mask R-CNN, R50 from DINO, on MaskCut's masks of ImageNet-1k (CutLER, arXiv 2301.11320). Not run here.
# The rounds follow: cascade-mask-rcnn_r50_dino-pre-8xb2-step-80k_in1k-pseudo.py.
_base_ = '../_base_/recipes/cascade-mask-rcnn_cutler.py'

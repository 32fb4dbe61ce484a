# CRATE-S/8 of arXiv 2308.16271, supervised on ImageNet-21k (Appendix C.1).
# Published, for these weights: coarse segmentation 23.9 mIoU on VOC 2012 val (Figure 4b); MaskCut on COCO val2017 1.1
# box AP, 0.8 mask AP (Table 1). Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))

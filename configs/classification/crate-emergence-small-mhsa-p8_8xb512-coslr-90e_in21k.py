# CRATE-MHSA, S/8: the ViT's attention in place of MSSA (arXiv 2308.16271, Table 2). Not run here.
# Published, for these weights: coarse segmentation 18.4 mIoU on VOC 2012 val; MaskCut on COCO val2017 0.0 box AP.
_base_ = ['../_base_/backbones/crate-emergence-small-mhsa-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))

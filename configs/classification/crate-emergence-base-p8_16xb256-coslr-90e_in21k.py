# CRATE-B/8 of arXiv 2308.16271, supervised on ImageNet-21k (Appendix C.1).
# Published, for these weights: coarse segmentation 23.6 mIoU on VOC 2012 val (Figure 4b); MaskCut on COCO val2017 1.3
# box AP, 1.0 mask AP (Table 1). Not run here.
_base_ = ['../_base_/backbones/crate-emergence-base-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
train_dataloader = dict(batch_size=256)

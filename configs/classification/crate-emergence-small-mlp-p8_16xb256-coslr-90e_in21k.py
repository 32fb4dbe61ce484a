# CRATE-MLP, S/8: the ViT's feed-forward block in place of ISTA (arXiv 2308.16271, Table 2). Not run here.
# Published, for these weights: coarse segmentation 22.0 mIoU on VOC 2012 val; MaskCut on COCO val2017 0.2 box AP.
_base_ = ['../_base_/backbones/crate-emergence-small-mlp-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
train_dataloader = dict(batch_size=256)

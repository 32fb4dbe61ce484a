# Both parts of the ViT's layer in CRATE's embedding, S/8 (arXiv 2308.16271, Table 2). Not run here.
# Published, for the ViT of that table: coarse segmentation 14.1 mIoU on VOC 2012 val; MaskCut 0.0 box AP on COCO.
_base_ = ['../_base_/backbones/crate-emergence-small-mhsa-mlp-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
train_dataloader = dict(batch_size=256)

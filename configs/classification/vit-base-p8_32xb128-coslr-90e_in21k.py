# ViT-B/8, supervised on ImageNet-21k: a baseline of arXiv 2308.16271, trained with the recipe of CRATE (Appendix C.1).
# Published, for these weights: coarse segmentation 19.2 mIoU on VOC 2012 val (Figure 4b); MaskCut on COCO val2017 0.4
# box AP, 0.4 mask AP (Table 1). Not run here. Published: 102.61M parameters (Table 3). This ViT has 102.60M; the two
# norms around CRATE's patch embedding would make the difference.
_base_ = ['../_base_/backbones/vit-base-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(
    backbone=_base_.backbone,
    head=dict(_delete_=True, type='VisionTransformerClsHead', num_classes=21842, in_channels=_base_.width),
)
train_dataloader = dict(batch_size=128)

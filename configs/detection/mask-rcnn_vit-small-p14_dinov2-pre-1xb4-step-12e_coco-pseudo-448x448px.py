# A small class-agnostic Mask R-CNN on the frozen ViT-S/14 of DINOv2. It learns from MaskCut's masks: the default
# detector of tools/discover.py. Not run here on COCO; docs/detector-without-labels.md has a smaller run.
_base_ = ['../_base_/backbones/vit-small-p14.py', '../_base_/recipes/mask-rcnn_frozen-vit.py']

model = dict(
    backbone=dict(backbone=dict(_base_.backbone, init_cfg=dict(checkpoint='checkpoints/vit-small-p14_dinov2.pth'))),
    neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size),
)

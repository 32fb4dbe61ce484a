# Mask R-CNN on half of 128 images of COCO with DINOv2's ViT-S/14 (arXiv 2304.07193), frozen: the upper mark for small
# models. The strides of the pyramid are half a patch and its doubles. Not run here.
_base_ = ['../_base_/backbones/vit-small-p14.py', '../_base_/recipes/mask-rcnn_coco128-half.py']

__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/vit-small-p14_dinov2.pth', prefix='backbone.')
__strides__ = (7, 14, 28, 56, 112)
__roi__ = dict(featmap_strides=__strides__[:4], finest_scale=49)
model = dict(
    backbone=dict(_base_.backbone, init_cfg=__init_cfg__, frozen_stages=12),
    neck=dict(in_channels=_base_.width, in_stride=14, out_strides=__strides__),
    rpn_head=dict(anchor_generator=dict(strides=__strides__)),
    roi_head=dict(bbox_roi_extractor=__roi__, mask_roi_extractor=__roi__),
)

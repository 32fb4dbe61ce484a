# UPerNet on CamVid with DINOv2's ViT-S/14 (arXiv 2304.07193), frozen: the upper mark for small models. Not run here.
_base_ = ['../_base_/backbones/vit-small-p14.py', '../_base_/recipes/upernet_camvid.py']

__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/vit-small-p14_dinov2.pth', prefix='backbone.')
model = dict(
    backbone=dict(_base_.backbone, init_cfg=__init_cfg__, frozen_stages=12, out_indices=(2, 5, 8, 11)),
    neck=dict(in_channels=4 * [_base_.width]),
)

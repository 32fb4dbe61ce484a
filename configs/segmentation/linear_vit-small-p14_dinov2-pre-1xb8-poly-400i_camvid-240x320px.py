# Linear probe of DINOv2's ViT-S/14 (arXiv 2304.07193) on CamVid: the upper mark for the small models. Not run here.
_base_ = ['../_base_/backbones/vit-small-p14.py', '../_base_/recipes/linear-seg_camvid.py']

__init_cfg__ = dict(type='Pretrained', checkpoint='checkpoints/vit-small-p14_dinov2.pth', prefix='backbone.')
__head__ = dict(in_channels=_base_.width, channels=_base_.width)
model = dict(
    backbone=dict(_base_.backbone, init_cfg=__init_cfg__), neck=dict(in_channels=_base_.width), decode_head=__head__
)

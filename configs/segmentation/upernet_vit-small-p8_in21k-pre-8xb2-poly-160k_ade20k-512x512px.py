# UPerNet on ViT-S/8, the baseline of CRATE-S/8, fine-tuned on ADE20K. Not run here.
_base_ = ['../_base_/backbones/vit-small-p8.py', '../_base_/recipes/upernet_ade20k.py']

model = dict(
    backbone=dict(_base_.pretrained, window_size=32),
    neck=dict(in_channels=4 * [_base_.width], out_channels=_base_.width, scales=[2, 1, 0.5, 0.25]),
    decode_head=dict(in_channels=4 * [_base_.width]),
    auxiliary_head=dict(in_channels=_base_.width),
)

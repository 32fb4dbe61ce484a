# A small Mask R-CNN on the generated sample set, from a backbone that mmpretrain trained on it at 48 x 48.
# Measured here on the 200 validation scenes, seed 0, from the checkpoint of `make demo`: box AP 36.7 and AP50 80.2,
# mask AP 48.7 and AP50 82.9. After two of the four epochs: box AP 23.6 and AP50 64.0, mask AP 32.7 and AP50 66.8.
# 15 minutes of one thread, beside other work.
_base_ = ['../_base_/backbones/crate-w128d5-p4.py', '../_base_/recipes/mask-rcnn_sample.py']

model = dict(
    backbone=dict(_base_.pretrained, init='crate', window_size=12, global_attn_indexes=(4,)),
    neck=dict(in_channels=_base_.width, in_stride=_base_.backbone.patch_size),
)

# Mask R-CNN of ViTDet (arXiv 2203.16527): a plain backbone, the simple pyramid from its last map, two convolutions in
# the RPN, four and a fully connected layer in the box head, LayerNorm in box and mask head. Everything else is mmdet's.
#
# The leaf says which backbone: its `arch` (or parts), `patch_size` and `init_cfg`, and for the neck `in_channels`, the
# backbone's width, and `in_stride`, its patch size. `img_size` is that of the pre-training.
#
# Attention keeps to windows of 14 x 14 patches; that of the third, sixth, ninth and twelfth layer is global. Departures
# from ViTDet: positions are absolute only, as in the pre-trained weights; [CLS] stays. Chosen here: the drop path rate
# of ViTDet-B, 0.1, for the small size too.
#
# Every batch is padded to 1024 x 1024 after the normalisation, masks too, in training and in testing: images of the
# data set are no larger. For larger ones, pad_size_divisor=32 pads as little as it has to.
# Memory: --cfg-options model.backbone.with_cp=True keeps what enters each layer and computes the rest twice.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='LN2d')
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, type='CRATE', img_size=224, out_type='featmap', window_size=14, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='SimpleFPN', out_channels=256, out_strides=(4, 8, 16, 32, 64)),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)

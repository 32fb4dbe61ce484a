# Mask R-CNN of ViTDet (arXiv 2203.16527) on COCO, 100 epochs of 64 images with large-scale jitter.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh CONFIG 8                  32 GPUs: NNODES=4
# The RPN has two convolutions, the box head four and a fully connected layer; box and mask head have LayerNorm.
# Everything else is mmdet's. Attention has windows of 14 x 14 patches; the third, sixth, ninth and twelfth layer are
# global. Departures from ViTDet: positions are absolute only, as in the pre-trained weights; [CLS] stays. Chosen here:
# drop path rate 0.1, as in ViTDet-B, for the small size too. 16 GPUs have 4 images each. With patches of 8 x 8 (16,384
# per image), 32 GPUs have 2 images each.
# Every batch is padded to 1024 x 1024 after the normalisation, masks too, in training and in testing. The images of the
# data set are no larger. For larger images, pad_size_divisor=32 pads as little as possible.
# Memory: --cfg-options model.backbone.with_cp=True keeps the input of each layer and computes the rest twice.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../datasets/coco_lsj_1024.py',
    '../schedules/vitdet_100e.py',
    '../mmdet_runtime.py',
]

norm_cfg = dict(type='LN2d')
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, out_type='featmap', window_size=14, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='SimpleFPN', out_channels=256, out_strides=(4, 8, 16, 32, 64)),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

# Cascade Mask R-CNN of ViTDet (arXiv 2203.16527) on COCO, 100 epochs of 64 images with large-scale jitter.
# See mask-rcnn_lsj-100e.py. Here are three box and mask heads, each stricter than the one before.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh CONFIG 8                  32 GPUs: NNODES=4
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
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
        bbox_head=[
            dict(head, type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg)
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    # mmdet's 0 stops a training at an image without room for an anchor, which large-scale jitter makes
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

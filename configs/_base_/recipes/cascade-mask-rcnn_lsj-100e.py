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
        bbox_head=[  # mmdet's, but for the type and the norm
            dict(
                type='Shared4Conv1FCBBoxHead',
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                norm_cfg=norm_cfg,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=4 * [0.0], target_stds=stds),
                reg_class_agnostic=True,
                loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            )
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
        ],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
    # mmdet's 0 stops a training at an image without room for an anchor, which large-scale jitter makes
    train_cfg=dict(rpn=dict(allowed_border=-1)),
)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

# Cascade Mask R-CNN of ViTDet (arXiv 2203.16527): mask-rcnn_vitdet.py, where it is explained, with three box and mask
# heads, each stricter than the one before. Everything else is mmdet's.
_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='LN2d')
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, type='CRATE', img_size=224, out_type='featmap', window_size=14, drop_path_rate=0.1),
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

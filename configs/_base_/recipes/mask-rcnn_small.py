# A small Mask R-CNN for one CPU core: narrow neck and heads, few proposals; the smallest anchor is 16 wide, half of
# mmdet's. The backbone's windows are as large as the images of its pre-training; its last layer is global.
# Layers of 64 channels have a large learning rate. The layers of the box head sum 3,136 values. With the large rate
# their outputs became 0, so their rate is smaller.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

model = dict(
    backbone=dict(_delete_=True, out_type='featmap'),
    neck=dict(_delete_=True, type='SimpleFPN', out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(in_channels=64),
        mask_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, norm_cfg=dict(type='LN2d')),
    ),
)

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[9, 11], gamma=0.1),
]
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(backbone=dict(lr_mult=0.6), rpn_head=dict(lr_mult=0.5), shared_fcs=dict(lr_mult=0.3)),
    ),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))

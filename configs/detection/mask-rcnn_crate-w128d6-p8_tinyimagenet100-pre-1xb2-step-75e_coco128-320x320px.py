# A small Mask R-CNN on the first 128 images of COCO train2017, trained and tested on the same images: does the detector
# learn what it is shown?
#   CRATE_DATA=/datasets python tools/train.py \
#       configs/detection/mask-rcnn_crate-w128d6-p8_tinyimagenet100-pre-1xb2-step-75e_coco128-320x320px.py
# Measured here, seed 0, on the images it is trained on: AP50 of boxes 11.4, 35.2, 52.0, 68.0, 75.0 after 15, 30, 45,
# 60, 75 epochs (of masks 56.8 in the end), at about 50 s an epoch on one thread; two interruptions, resumed.
#
# The run starts from the file `model.backbone.init_cfg.checkpoint` below, which is the last checkpoint of
#   configs/classification/crate-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py
# Another file: --cfg-options model.backbone.init_cfg.checkpoint=FILE
#
# The backbone was trained at 64 x 64, 8 x 8 tokens. Its windows here are as large, and its last layer is global.
# Narrow neck and heads, few proposals, no augmentation: it is to overfit, on one CPU core. Layers of 64
# channels learn with a large rate; the box head's, which sum 3,136 values, died with it and have a smaller one.
# Data: $CRATE_DATA/coco128/{train2017/,annotations/instances_train2017.json}, 128 images (two without annotations).
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

norm_cfg = dict(type='LN2d')
model = dict(
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch=dict(embed_dims=128, num_heads=4, num_layers=6),
        img_size=64,
        patch_size=8,
        out_type='featmap',
        window_size=8,
        global_attn_indexes=(5,),
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/crate-w128d6-p8_tinyimagenet100.pth', prefix='backbone.'
        ),
    ),
    neck=dict(_delete_=True, type='SimpleFPN', in_channels=128, out_channels=64, in_stride=8),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(in_channels=64, fc_out_channels=512),
        mask_roi_extractor=dict(out_channels=64, roi_layer=dict(output_size=7, sampling_ratio=2)),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=300), rcnn=dict(sampler=dict(num=64, pos_fraction=0.5), mask_size=14)
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=300)),
)

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 320), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
coco128 = dict(data_root=f'{__data__}/coco128', ann_file='annotations/instances_train2017.json')
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(**coco128, filter_cfg=dict(filter_empty_gt=True, min_size=0), pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(**coco128, data_prefix=dict(img='train2017/'), pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{__data__}/coco128/annotations/instances_train2017.json')
test_evaluator = val_evaluator

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
train_cfg = dict(max_epochs=75, val_interval=15)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', begin=0, end=75, by_epoch=True, milestones=[62, 71], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=2, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2), logger=dict(interval=32))

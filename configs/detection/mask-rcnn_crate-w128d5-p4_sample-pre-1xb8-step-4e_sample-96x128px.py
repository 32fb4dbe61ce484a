# A small Mask R-CNN on the generated sample set, from a backbone that mmpretrain trained on it: `make test-slow` runs
# all of it.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   python tools/train.py configs/detection/mask-rcnn_crate-w128d5-p4_sample-pre-1xb8-step-4e_sample-96x128px.py \
#       --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
# Measured here, seed 0, from the checkpoint of `make demo`, on the 200 scenes of the validation: box AP 36.7 and AP50
# 80.2, mask AP 48.7 and AP50 82.9; after two of the four epochs 23.6 and 64.0, mask AP 32.7 and AP50 66.8. 15
# minutes of one thread, beside other work.
#
# Scenes are 96 high and 128 wide. The backbone was trained at 48 x 48, 12 x 12 tokens: its windows here are as large.
# Narrow neck and heads and few proposals, for a CPU; the smallest anchor is 16 wide, half of mmdet's.
# Data: $CRATE_DATA/sample/coco, 1,000 and 200 scenes, 8 classes.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch=dict(embed_dims=128, num_heads=4, num_layers=5),
        img_size=48,
        patch_size=4,
        out_type='featmap',
        window_size=12,
        global_attn_indexes=(4,),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-w128d5-p4_sample.pth', prefix='backbone.'),
    ),
    neck=dict(_delete_=True, type='SimpleFPN', in_channels=128, out_channels=64, in_stride=4),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=8),
        mask_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, num_classes=8, norm_cfg=dict(type='LN2d')),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=200), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=200)),
)

classes = (
    'amber_stripes',
    'azure_checks',
    'crimson_dots',
    'cyan_plain',
    'emerald_checks',
    'lime_stripes',
    'magenta_plain',
    'violet_dots',
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
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
sample = dict(data_root=f'{__data__}/sample/coco', metainfo=dict(classes=classes))
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(**sample, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(**sample, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{__data__}/sample/coco/annotations/instances_val2017.json')
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
train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=8, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2), logger=dict(interval=25))

# mask-rcnn_small.py on the generated sample set, scenes of 96 x 128, 4 epochs: `make test-slow` runs all of it.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   python tools/train.py CONFIG --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
# Data: $CRATE_DATA/sample/coco, 1,000 and 200 scenes, 8 classes.
_base_ = './mask-rcnn_small.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(
    roi_head=dict(bbox_head=dict(fc_out_channels=256, num_classes=8), mask_head=dict(num_classes=8)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=200), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=200)),
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
__sample__ = dict(data_root=f'{__data__}/sample/coco', metainfo=dict(classes=classes))
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(__sample__, pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(__sample__, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{__data__}/sample/coco/annotations/instances_val2017.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=25))

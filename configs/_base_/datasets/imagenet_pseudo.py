# ImageNet-1k with the masks of tools/maskcut.py in place of labels (arXiv 2301.11320): $CRATE_DATA/imagenet with train/
# and annotations/pseudo_train.json. Short side from 240 to 1024, flip, copy-paste of objects scaled by 0.3 to 1.0.
# The detector is evaluated on COCO val2017, class-agnostically, without having seen it: $CRATE_DATA/coco.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
__object__ = dict(type='CocoDataset', metainfo=dict(classes=('object',), palette=[(220, 20, 60)]))

load_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=[(1333, 240), (1333, 1024)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = [dict(type='ScaledCopyPaste', scale_range=(0.3, 1.0)), dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='MultiImageMixDataset',
        dataset=dict(
            __object__,
            data_root=f'{__data__}/imagenet',
            ann_file='annotations/pseudo_train.json',
            data_prefix=dict(img='train/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=0),
            pipeline=load_pipeline,
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        __object__,
        data_root=f'{__data__}/coco',
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = test_evaluator = dict(
    type='ClassAgnosticCocoMetric',
    ann_file=f'{__data__}/coco/annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
)

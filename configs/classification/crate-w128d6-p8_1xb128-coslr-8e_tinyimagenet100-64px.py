# A small CRATE (width 128, 6 layers) on the 100-class Tiny-ImageNet: real photographs on a machine without a GPU.
#   CRATE_DATA=/datasets python tools/train.py \
#       configs/classification/crate-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py
#
# Measured here, seed 0, one CPU thread beside other work: top-1 24.2%.
#
# Data: $CRATE_DATA/tiny-imagenet-100/{train,val}/<wnid>/*.JPEG: 100 folders, 64 x 64, 500 and 50 images of each class.
# The sorted folder names are the classes; a set with another number of classes stops the run before its first step.
_base_ = '../_base_/default_runtime.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_preprocessor = dict(num_classes=100, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='CRATE', arch=dict(embed_dims=128, num_heads=4, num_layers=6), img_size=64, patch_size=8),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=128,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original', num_classes=100),
        topk=(1, 5),
    ),
)

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.4, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=f'{__data__}/tiny-imagenet-100',
        data_prefix='train',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=f'{__data__}/tiny-imagenet-100',
        data_prefix='val',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=1)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=1, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=128, enable=True)
custom_hooks = [dict(type='ClassNumCheckHook')]

# The 100-class Tiny-ImageNet, 64 x 64, decoded once and kept in memory: on the GPU, if there is one.
#
# Data: $CRATE_DATA/tiny-imagenet-100/{train,val}/<wnid>/*.JPEG: 100 folders, 500 and 50 images of each class.
# The sorted folder names are the classes; a set with another number of classes stops the run before its first step.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
data_preprocessor = dict(num_classes=100, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    pin_memory=False,
    collate_fn=dict(type='torch.utils.data.default_convert'),
    dataset=dict(
        type='ImagesInMemory',
        size=64,
        crop_ratio_range=(0.4, 1.0),
        data_root=f'{__data__}/tiny-imagenet-100',
        data_prefix='train',
        pipeline=[dict(type='LoadImageOrSkip'), dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=2,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=f'{__data__}/tiny-imagenet-100',
        data_prefix='val',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

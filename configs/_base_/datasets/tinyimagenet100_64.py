# The 100-class Tiny-ImageNet, 64 x 64: $CRATE_DATA/tiny-imagenet-100/{train,val}/<wnid>/*.JPEG, 100 folders, 500 and 50
# images of each class. The sorted folder names are the classes; a set with another number of classes stops the run
# before its first step.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
data_preprocessor = dict(num_classes=100, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.4, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
tta_model = dict(type='AverageClsScoreTTA')  # --tta: the mean of the scores of an image and its mirror image
__flip__ = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
tta_pipeline = [test_pipeline[0], dict(type='TestTimeAug', transforms=[__flip__, test_pipeline[1:]])]
__folders__ = dict(type='CustomDataset', data_root=f'{__data__}/tiny-imagenet-100')
__loader__ = dict(num_workers=2, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    __loader__,
    batch_size=128,
    dataset=dict(__folders__, data_prefix='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = test_dataloader = dict(
    __loader__,
    batch_size=250,
    dataset=dict(__folders__, data_prefix='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = test_cfg = dict()

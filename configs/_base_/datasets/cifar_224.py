# CIFAR-10, enlarged to 224 x 224, so that the position table of a model trained at this size fits. The images are RGB
# in memory, not files. CIFAR-100 has the same form and changes only the class and the folder. The first run downloads
# the data. The recipe sets the batch size.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=False)

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline[2:]
tta_model = dict(type='AverageClsScoreTTA')  # --tta: the mean of the scores of an image and its mirror image
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[[dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)], test_pipeline[-1:]],
    ),
]

__cifar__ = dict(type='CIFAR10', data_root=f'{__data__}/cifar10')
__loader__ = dict(num_workers=8, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    __loader__,
    dataset=dict(__cifar__, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    __loader__,
    batch_size=64,
    dataset=dict(__cifar__, split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = test_cfg = dict()

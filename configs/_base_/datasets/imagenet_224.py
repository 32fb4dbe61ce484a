# ImageNet-1k at 224 x 224 in the folders $CRATE_DATA/imagenet/{train,val}/<wnid>/. Training: random resized crop and
# flip. Evaluation: the usual 256 -> 224. Other data sets of photographs use these pipelines and name their own class
# and folder. The recipe sets the batch size.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
tta_model = dict(type='AverageClsScoreTTA')  # --tta: the mean of the scores of an image and its mirror image
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[[dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)], test_pipeline[-1:]],
    ),
]

__imagenet__ = dict(type='ImageNet', data_root=f'{__data__}/imagenet')
__loader__ = dict(num_workers=8, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    __loader__,
    dataset=dict(__imagenet__, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    __loader__,
    batch_size=64,
    dataset=dict(__imagenet__, split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = test_cfg = dict()

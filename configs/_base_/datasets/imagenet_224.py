# ImageNet-1k at 224 x 224 in the folders $CRATE_DATA/imagenet/{train,val}/<wnid>/. Other data sets of photographs use
# these pipelines and name their own class and folder. The recipe sets the batch size.
_base_ = './imagenet_pipelines.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

tta_model = dict(type='AverageClsScoreTTA')  # --tta: the mean of the scores of an image and its mirror image
__flip__ = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
tta_pipeline = [
    *_base_.test_pipeline[:-1],
    dict(type='TestTimeAug', transforms=[__flip__, _base_.test_pipeline[-1:]]),
]

__imagenet__ = dict(type='ImageNet', data_root=f'{__data__}/imagenet')
__loader__ = dict(num_workers=8, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    __loader__,
    dataset=dict(__imagenet__, split='train', pipeline=_base_.train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = test_dataloader = dict(
    __loader__,
    batch_size=64,
    dataset=dict(__imagenet__, split='val', pipeline=_base_.test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, 5))
val_cfg = test_cfg = dict()

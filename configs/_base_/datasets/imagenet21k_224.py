# ImageNet-21k at 224 x 224 in the folders $CRATE_DATA/imagenet21k/{train,val}/<wnid>/*.JPEG. A training has no
# validation set; tools/test.py reads val/, and mmpretrain's inference takes the pipeline of the test.
_base_ = './imagenet_pipelines.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__folders__ = dict(type='CustomDataset', data_root=f'{__data__}/imagenet21k')
train_dataloader = dict(
    num_workers=16,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(__folders__, data_prefix='train', pipeline=_base_.train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=8,
    collate_fn=dict(type='default_collate'),
    dataset=dict(__folders__, data_prefix='val', pipeline=_base_.test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='Accuracy', topk=(1, 5))
test_cfg = dict()

# A small classifier on the generated sample set: minutes on a laptop. What `make demo` trains.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py CONFIG
# Data: $CRATE_DATA/sample/imagenet/{train,val}/<class>/*.png: 8 classes, 48 x 48, 3,000 and 400 images. They are read
# as those of Tiny-ImageNet, without crops.
_base_ = ['../datasets/tinyimagenet100_64.py', '../default_runtime.py']
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_preprocessor = dict(num_classes=8)
model = dict(
    type='ImageClassifier',
    head=dict(type='LinearClsHead', num_classes=8, loss=dict(type='CrossEntropyLoss', loss_weight=1.0)),
)

train_pipeline = [step for step in _base_.train_pipeline if step.type != 'RandomResizedCrop']
__folders__ = dict(data_root=f'{__data__}/sample/imagenet')
__loader__ = dict(num_workers=1, persistent_workers=True)
train_dataloader = dict(__loader__, batch_size=48, dataset=dict(__folders__, pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(__loader__, batch_size=100, dataset=__folders__)
val_evaluator = test_evaluator = dict(topk=(1,))
train_cfg = dict(by_epoch=False, max_iters=400, val_interval=100)

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=40, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=40, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=48, enable=True)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=100))
custom_hooks = [dict(type='ClassNumCheckHook')]
log_processor = dict(by_epoch=False)

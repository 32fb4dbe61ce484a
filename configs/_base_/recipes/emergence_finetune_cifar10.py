# emergence_finetune_in1k.py on CIFAR-10, 50 epochs. Images are enlarged to 224 x 224, so that the position table of a
# model trained at this size fits. They are RGB in memory, not files.
# Data: $CRATE_DATA/cifar10, downloaded by the first run.
_base_ = './emergence_finetune_in1k.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_preprocessor = dict(to_rgb=False)
model = dict(head=dict(num_classes=10))
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = train_pipeline[2:]
tta_pipeline = [test_pipeline[0], _base_.tta_pipeline[-1]]
__cifar__ = dict(type='CIFAR10', data_root=f'{__data__}/cifar10')
train_dataloader = dict(dataset=dict(__cifar__, pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(__cifar__, split='test', pipeline=test_pipeline))
train_cfg = dict(max_epochs=50)

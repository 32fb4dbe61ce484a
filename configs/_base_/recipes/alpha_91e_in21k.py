# "Scaling White-Box Transformers for Vision" (arXiv 2405.20299): pre-training of CRATE-alpha on ImageNet-21k.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh CONFIG 8                  32 GPUs: NNODES=4
# No results are published for the weights before the second stage.
#
# Published: batch 4096, Adam with betas (0.9, 0.95), learning rate 5e-5 per 256, which is 5e-5 * 4096 / 256 = 8e-4.
# Weight decay 0.1. 91 epochs, 10 of them warm-up, then a cosine to 1e-6. Mixup 0.8, cutmix 1.0. Gradient clipped at
# 1.0. The initialisation (arch alpha-*, head N(0, 0.02)).
# Chosen here: AdamW ("Adam" would divide an l2 term of 0.1 by the gradient's size). Random resized crop and flip. Mixup
# and cutmix with equal chances. Mean and std of ImageNet. A warm-up that starts from 1e-3 of the learning rate.
#
# Data: $CRATE_DATA/imagenet21k-19167/train/<wnid>/*.JPEG, with the 19,167 classes that remain after filtering, and no
# other folders. The sorted folder names are the labels. A run on another number of classes stops before its first step.
# Links to the folders of the full ImageNet-21k work. The training has no validation set; tools/test.py reads
# val/<wnid>/*.JPEG, of the same folders.
_base_ = '../default_runtime.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_preprocessor = dict(
    num_classes=19167, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True, to_onehot=True
)
model = dict(
    type='ImageClassifier',
    head=dict(
        type='LinearClsHead',
        num_classes=19167,
        init_cfg=dict(type='Normal', layer='Linear', std=0.02),
        loss=dict(type='CrossEntropyLoss', use_soft=True),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

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
__folders__ = dict(type='CustomDataset', data_root=f'{__data__}/imagenet21k-19167')
train_dataloader = dict(
    batch_size=256,
    num_workers=16,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(__folders__, data_prefix='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
test_dataloader = dict(  # mmpretrain's inference takes its pipeline
    batch_size=64,
    num_workers=8,
    collate_fn=dict(type='default_collate'),
    dataset=dict(__folders__, data_prefix='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='Accuracy', topk=(1, 5))
test_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=91)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=8e-4, betas=(0.9, 0.95), weight_decay=0.1), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=10, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4096, enable=True)
custom_hooks = [dict(type='ClassNumCheckHook')]

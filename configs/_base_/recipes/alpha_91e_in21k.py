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
# Data: $CRATE_DATA/imagenet21k-19167/{train,val}/<wnid>/*.JPEG, with the 19,167 classes that remain after filtering,
# and no other folders. The sorted folder names are the labels. A run on another number of classes stops before its
# first step. Links to the folders of the full ImageNet-21k work.
_base_ = ['../datasets/imagenet21k_224.py', '../default_runtime.py']
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_preprocessor = dict(num_classes=19167, to_onehot=True)
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

train_dataloader = dict(batch_size=256, dataset=dict(data_root=f'{__data__}/imagenet21k-19167'))
test_dataloader = dict(dataset=dict(data_root=f'{__data__}/imagenet21k-19167'))
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

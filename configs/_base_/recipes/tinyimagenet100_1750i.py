# A part of `python tools/experiments/emergence.py --budget cpu`: what two CPU cores can learn from the 100-class
# Tiny-ImageNet, whose training images are decoded once and kept in memory.
#   CRATE_DATA=/datasets python tools/train.py CONFIG
# 4.5 epochs. The first 4.1 epochs use images of 32 x 32 (64 tokens, six times as fast), the last 150 iterations images
# of 64 x 64. The backbone has the positions of the small images: both sizes train all of them.
_base_ = [
    '../models/classifier_tinyimagenet100.py',
    '../datasets/tinyimagenet100_64.py',
    '../default_runtime.py',
]

train_dataloader = dict(
    num_workers=0,
    pin_memory=False,
    collate_fn=dict(type='torch.utils.data.default_convert'),
    dataset=dict(
        type='ImagesInMemory',
        size=64,
        crop_ratio_range=(0.4, 1.0),
        pipeline=[dict(type='LoadImageOrSkip'), dict(type='PackInputs')],
    ),
)
train_cfg = dict(by_epoch=False, max_iters=1750, val_interval=1750)
optim_wrapper = dict(optimizer=dict(type='Lion', lr=4e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=100, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=128, enable=True)
default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=250, initial=True, max_keep_ckpts=-1)
)
custom_hooks = [dict(type='ClassNumCheckHook'), dict(type='SmallImagesHook', size=32, until=1600)]
log_processor = dict(by_epoch=False)

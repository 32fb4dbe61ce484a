# A small classifier on the 100-class Tiny-ImageNet: real photographs on a machine without a GPU.
#   CRATE_DATA=/datasets python tools/train.py CONFIG
_base_ = [
    '../models/classifier_tinyimagenet100.py',
    '../datasets/tinyimagenet100_64.py',
    '../default_runtime.py',
]

train_dataloader = dict(persistent_workers=True)
val_dataloader = test_dataloader = dict(persistent_workers=True)
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=1, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=128, enable=True)
custom_hooks = [dict(type='ClassNumCheckHook')]

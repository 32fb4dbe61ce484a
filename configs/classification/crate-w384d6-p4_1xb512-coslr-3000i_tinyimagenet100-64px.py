# CRATE of the paper's small width (384) with 6 layers on the 100-class Tiny-ImageNet, 256 tokens an image: for one
# data-centre GPU. A part of `python tools/experiments/emergence.py --budget gpu`.
#   CRATE_DATA=/datasets python tools/train.py \
#       configs/classification/crate-w384d6-p4_1xb512-coslr-3000i_tinyimagenet100-64px.py
# Not run here.
#
# 30.7 epochs in bfloat16; the images stay on the GPU, and are cut and flipped there.
_base_ = ['../_base_/datasets/tinyimagenet100_64.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='CRATE', arch=dict(embed_dims=384, num_heads=6, num_layers=6), img_size=64, patch_size=4),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original', num_classes=100),
        topk=(1, 5),
    ),
)

train_dataloader = dict(batch_size=512)
train_cfg = dict(by_epoch=False, max_iters=3000, val_interval=500)
optim_wrapper = dict(
    type='AutocastOptimWrapper', optimizer=dict(type='Lion', lr=4e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=150, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=150, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=512, enable=True)

default_hooks = dict(
    logger=dict(interval=50), checkpoint=dict(by_epoch=False, interval=500, initial=True, max_keep_ckpts=-1)
)
custom_hooks = [dict(type='ClassNumCheckHook')]
log_processor = dict(by_epoch=False)

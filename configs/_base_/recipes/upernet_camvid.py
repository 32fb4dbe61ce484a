# upernet.py on CamVid (11 classes): whole images, narrow heads, batches of 4, 400 iterations (4.4 epochs) on one CPU
# core. Attention is global.
#   python tools/train.py CONFIG --cfg-options randomness.seed=0
#   python tools/test.py CONFIG CHECKPOINT       # on the 233 images for testing; a training validates on the other 101
# From random weights: --cfg-options model.backbone.init_cfg=None
# Chosen here: learning rate 1e-3, its layer-wise decay 0.9.
_base_ = ['./upernet.py', '../datasets/camvid_240x320.py']

model = dict(
    data_preprocessor=dict(size=(240, 320)),
    backbone=dict(out_indices=(1, 3, 4, 5), drop_path_rate=0.0),
    neck=dict(out_channels=64),
    decode_head=dict(in_channels=4 * [64], channels=64, num_classes=11),
    auxiliary_head=dict(in_channels=64, channels=64, num_classes=11),
    test_cfg=dict(_delete_=True, mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=0.9), clip_grad=dict(max_norm=1.0))
param_scheduler = [dict(_base_.param_scheduler[0], end=40), dict(_base_.param_scheduler[1], begin=40)]
train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=400, val_interval=200)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=200, max_keep_ckpts=1))

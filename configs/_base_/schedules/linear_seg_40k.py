# Training of a linear head on a frozen backbone: mmseg's schedule of 40,000 iterations, by AdamW. The leaf may say
# another length: warm-up and decay follow `train_cfg.max_iters`.
#
# Chosen here, after the linear probe of DINOv2 (arXiv 2304.07193): learning rate 1e-3 for 16 images, weight decay 1e-4,
# 1,500 iterations of warm-up, then a straight line to zero; mixed precision.
_base_ = 'mmseg::_base_/schedules/schedule_40k.py'

optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500),
]
auto_scale_lr = dict(base_batch_size=16, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

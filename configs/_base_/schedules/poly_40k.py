# mmseg's schedule of 40,000 iterations, 16 images per step. Chosen here: 1,500 iterations of warm-up, then a straight
# line to zero over `train_cfg.max_iters`.
_base_ = ['mmseg::_base_/schedules/schedule_40k.py', '../mmseg_runtime.py']

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500),
]
auto_scale_lr = dict(base_batch_size=16, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

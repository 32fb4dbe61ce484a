# Fine-tuning of a segmentor: mmseg's schedule of 40,000 iterations, by AdamW. The leaf may say another length:
# warm-up and decay follow `train_cfg.max_iters`.
#
# Chosen here, as in mmseg's MAE on UPerNet: learning rate 1e-4 for 16 images, weight decay 0.05, 1,500 iterations of
# warm-up, then a straight line to zero, mixed precision. Layer-wise decay of the learning rate by 0.7, as in this
# project's detectors. No weight decay on norms, biases, [CLS] and positions.
_base_ = 'mmseg::_base_/schedules/schedule_40k.py'

optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
    ),
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500),
]
auto_scale_lr = dict(base_batch_size=16, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

# The schedule of ViTDet (arXiv 2203.16527): AdamW, batch 64, learning rate 1e-4, weight decay 0.1, 250 iterations of
# warm-up, steps at 88.9% and 96.3%, mixed precision. The learning rate decays by 0.7 per layer, as in ViTDet-B. Chosen
# here: the same decay for the small size, which has as many layers. There is no weight decay on norms, biases, [CLS]
# and positions. We count in epochs and take the nearest steps. mmdet leaves out 1,021 of the 118,287 training images:
# they have no object. So an epoch is ceil(117,266 / 64) = 1,833 iterations, and 100 epochs are 183,300. ViTDet counts
# 184,375 iterations, 118,000 images per epoch.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
    ),
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=100, milestones=[89, 96], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=64, enable=True)

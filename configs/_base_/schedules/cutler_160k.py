# The schedule of CutLER (arXiv 2301.11320): 160,000 iterations of 16 images by SGD. The learning rate is 0.01 and, from
# the middle on, 0.0002; weight decay 5e-5, gradients clipped at 1.0. Chosen here: 1,000 iterations of warm-up.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=20000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-5),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=160000, milestones=[80000], gamma=0.02),
]
auto_scale_lr = dict(base_batch_size=16, enable=True)

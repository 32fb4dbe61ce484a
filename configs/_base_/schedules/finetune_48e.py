# Fine-tuning on a part of COCO. All of it is chosen here: 48 epochs of 16 images per step for any part (1%: about 3,500
# steps), CutLER's optimiser, learning rate 0.01, and steps after two thirds and nine tenths.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=48, val_interval=12)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-5),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=48, milestones=[32, 43], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=16, enable=True)

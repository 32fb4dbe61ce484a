# mask-rcnn_lsj-100e.py in 36 epochs, a length chosen here: steps at the same shares of the training.
_base_ = './mask-rcnn_lsj-100e.py'

train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[32, 35], gamma=0.1),
]

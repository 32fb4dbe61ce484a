# mask-rcnn_lsj-100e.py in 36 epochs, a length chosen here: steps at the same shares of the training.
_base_ = './mask-rcnn_lsj-100e.py'

train_cfg = dict(max_epochs=36)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=36, milestones=[32, 35])]

# mask-rcnn_coco128.py with the images split in two: every second one is for training, the others are for testing. All
# categories count as one when it is tested, since 64 images do not teach 80 categories. 30 epochs, with flips.
#   CRATE_DATA=/datasets python tools/train.py CONFIG --cfg-options randomness.seed=0
# From random weights: --cfg-options model.backbone.init_cfg=None
_base_ = './mask-rcnn_coco128.py'

train_pipeline = [*_base_.train_pipeline[:-1], dict(type='RandomFlip', prob=0.5), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(indices=[*range(0, 128, 2)], filter_cfg=None, pipeline=train_pipeline))
val_dataloader = test_dataloader = dict(dataset=dict(indices=[*range(1, 128, 2)]))
val_evaluator = test_evaluator = dict(type='ClassAgnosticCocoMetric')

train_cfg = dict(max_epochs=30, val_interval=30)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=30, milestones=[24, 28])]

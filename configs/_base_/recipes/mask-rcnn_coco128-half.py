# mask-rcnn_coco128.py with the images split in two: every second one is for training, the others are for testing. All
# categories count as one when it is tested, since 64 images do not teach 80 categories. 30 epochs, with flips.
#   CRATE_DATA=/datasets python tools/train.py CONFIG --cfg-options randomness.seed=0
# From random weights: --cfg-options model.backbone.init_cfg=None
_base_ = './mask-rcnn_coco128.py'

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='RandomFlip', prob=0.5),
    _base_.train_pipeline[-1],
]
train_dataloader = dict(
    dataset=dict(indices=[*range(0, 128, 2)], filter_cfg=None, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(indices=[*range(1, 128, 2)]))
test_dataloader = val_dataloader
val_evaluator = dict(type='ClassAgnosticCocoMetric')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=30, val_interval=30)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', begin=0, end=30, by_epoch=True, milestones=[24, 28], gamma=0.1),
]

# A round of self-training of cascade-mask-rcnn_cutler.py: mask-rcnn_cutler-round.py, whose header has the commands,
# with Cascade Mask R-CNN.
_base_ = [
    '../models/cascade-mask-rcnn_cutler.py',
    '../datasets/imagenet_pseudo.py',
    '../schedules/cutler_80k.py',
    '../mmdet_runtime.py',
]

train_pipeline = [dict(_base_.train_pipeline[0], scale_range=(0.5, 1.0)), _base_.train_pipeline[1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3))

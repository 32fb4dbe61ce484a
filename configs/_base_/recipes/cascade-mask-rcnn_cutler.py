# mask-rcnn_cutler.py with mmdet's Cascade Mask R-CNN, the detector of CutLER's tables (arXiv 2301.11320). DropLoss acts
# in each of the three stages: (0.01, 0.5), (0.01, 0.6), (0.01, 0.7).
#   bash tools/dist_train.sh CONFIG 8
_base_ = [
    '../models/cascade-mask-rcnn_cutler.py',
    '../datasets/imagenet_pseudo.py',
    '../schedules/cutler_160k.py',
    '../mmdet_runtime.py',
]

model = dict(
    train_cfg=dict(
        rcnn=[
            dict(stage, assigner=dict(stage.assigner, neg_iou_thr=(0.01, stage.assigner.pos_iou_thr)))
            for stage in _base_.model.train_cfg.rcnn
        ]
    )
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3))

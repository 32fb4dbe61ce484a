# mask-rcnn_semi.py, whose header has the commands, with Cascade Mask R-CNN.
_base_ = [
    '../models/cascade-mask-rcnn_cutler.py',
    '../datasets/coco_semi.py',
    '../schedules/finetune_48e.py',
    '../mmdet_runtime.py',
]

model = dict(
    backbone=dict(init_cfg=None),
    roi_head=dict(
        bbox_head=[dict(head, num_classes=80) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=80),
    ),
)
load_from = 'checkpoints/cascade-mask-rcnn_class-agnostic.pth'
load_from_except = [
    f'roi_head.{part}' for stage in range(3) for part in (f'bbox_head.{stage}.fc_cls', f'mask_head.{stage}.conv_logits')
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

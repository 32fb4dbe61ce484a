# Mask R-CNN that learnt from masks without classes, fine-tuned on 1% of COCO with its 80 classes (arXiv 2301.11320).
#   python .../mmdet/.mim/tools/misc/split_coco.py          docs/zero-shot.md has the whole command
#   bash tools/dist_train.sh CONFIG 8 --cfg-options load_from=LAST.pth
# Another part: train_dataloader.dataset.ann_file=semi_anns/instances_train2017.1@10.json    2, 5, 10: its percent
# LAST.pth is the last checkpoint of mask-rcnn_cutler-round.py. The layers whose size depends on the number of classes
# start from random weights. Schedule and sizes are chosen here.
_base_ = [
    '../models/mask-rcnn_cutler.py',
    '../datasets/coco_semi.py',
    '../schedules/finetune_48e.py',
    '../mmdet_runtime.py',
]

model = dict(
    backbone=dict(init_cfg=None),
    roi_head=dict(bbox_head=dict(num_classes=80), mask_head=dict(num_classes=80)),
)
load_from = 'checkpoints/mask-rcnn_class-agnostic.pth'
load_from_except = ['roi_head.bbox_head.fc_cls', 'roi_head.mask_head.conv_logits']
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

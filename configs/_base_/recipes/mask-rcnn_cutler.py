# The detector of CutLER (arXiv 2301.11320) with mmdet's Mask R-CNN: it learns from MaskCut's masks of ImageNet-1k.
#   python tools/maskcut.py $CRATE_DATA/imagenet/train $CRATE_DATA/imagenet/annotations/pseudo_train.json \
#       --config configs/maskcut/maskcut_vit-base-p8_dino-pre-1xb8_coco.py --checkpoint DINO
#   bash tools/dist_train.sh CONFIG 8
# DropLoss: neg_iou_thr=(0.01, 0.5), see docs/detector-without-labels.md. It must be a tuple.
_base_ = [
    '../models/mask-rcnn_cutler.py',
    '../datasets/imagenet_pseudo.py',
    '../schedules/cutler_160k.py',
    '../mmdet_runtime.py',
]

model = dict(train_cfg=dict(rcnn=dict(assigner=dict(neg_iou_thr=(0.01, 0.5)))))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3))

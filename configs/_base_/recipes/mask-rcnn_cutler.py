# The detector of CutLER (arXiv 2301.11320) with mmdet's Mask R-CNN: it learns from MaskCut's masks of ImageNet-1k.
#   python tools/maskcut.py $CRATE_DATA/imagenet/train $CRATE_DATA/imagenet/annotations/pseudo_train.json \
#       --config configs/maskcut/maskcut_vit-base-p8_dino-pre-1xb8_coco.py --checkpoint DINO
#   bash tools/dist_train.sh CONFIG 8
# Needs the file `model.backbone.init_cfg.checkpoint`; without it, the run stops before its first step.
# It is dino_resnet50_pretrain.pth as DINO released it.
#
# DropLoss: neg_iou_thr=(0.01, 0.5), see docs/detector-without-labels.md. It must be a tuple. The RPN keeps 4,000 boxes
# after NMS at 0.65. One class, one box for all classes, SyncBN, all layers trained.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../datasets/imagenet_pseudo.py',
    '../schedules/cutler_160k.py',
    '../mmdet_runtime.py',
]

__norm__ = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=__norm__,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/resnet50_dino.pth'),
    ),
    neck=dict(norm_cfg=__norm__),
    roi_head=dict(bbox_head=dict(num_classes=1, reg_class_agnostic=True), mask_head=dict(num_classes=1)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=4000, max_per_img=4000, nms=dict(iou_threshold=0.65)),
        rcnn=dict(assigner=dict(neg_iou_thr=(0.01, 0.5))),
    ),
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3))
